"""The encoders of all members as one: what they make of an input is carried through `generate` together."""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutput
from transformers.utils.generic import ModelOutput

from hf_compress._errors import CompressionError
from hf_compress.ensembling.modelling.inputs import readable

MAIN = "last_hidden_state"
_OF_MEMBER = re.compile(r"(?P<field>.+)_of_(?P<member>\d+)$")


class MembersEncoder(nn.Module):
    """Asks every member's encoder once.

    Its output has the first member's states as `last_hidden_state`, (B, T, H), and the further ones under names that end in
    their member's number, `last_hidden_state_of_1`, each of its own length and width: fields that are tensors are what
    `generate` repeats for beams and moves with the rows.
    """

    def __init__(self, ensemble: Any) -> None:
        super().__init__()
        self.ensemble = ensemble

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        input_features: Tensor | None = None,
        input_values: Tensor | None = None,
        **kwargs: Any,
    ) -> ModelOutput:
        """What all encoders make of the input.

        Args:
            input_ids: (B, T) of text.
            attention_mask: (B, T), 0 where a row is padding.
            inputs_embeds: (B, T, H) in place of `input_ids`, of members of one width.
            input_features: of sound, as spectrograms.
            input_values: of sound, as samples.
            **kwargs: what else is handed to encoders; those that no member's takes are left out.
        """
        named = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "inputs_embeds": inputs_embeds,
            "input_features": input_features,
            "input_values": input_values,
        }
        own = self.ensemble.member_inputs({**named, **kwargs})
        fields: dict[str, Tensor] = {}
        for place, (member, read) in enumerate(zip(self.ensemble.members, own, strict=True)):
            encoder = member.get_encoder()
            made = {key: value for key, value in encoder(**readable(encoder, read)).items() if isinstance(value, Tensor)}
            fields |= {_name(field, place): value for field, value in made.items()}
        return ModelOutput(fields)


def encoded_of(output: Mapping[str, Any], num_members: int, device: Any) -> list[ModelOutput]:
    """What each member's decoder is to be given as its `encoder_outputs`, of a `MembersEncoder`'s output.

    Args:
        output: as it came from the encoder, or with its rows in another order.
        num_members: of the ensemble.
        device: member's place -> where its weights are.

    Raises:
        CompressionError: it is not what a `MembersEncoder` gave.
    """
    own: list[dict[str, Tensor]] = [{} for _ in range(num_members)]
    for key, value in output.items() if isinstance(output, Mapping) else ():
        found = _OF_MEMBER.match(key)
        place, field = (int(found["member"]), found["field"]) if found else (0, key)
        if isinstance(value, Tensor) and place < num_members:
            own[place][field] = value.to(device(place))
    if not all(MAIN in fields for fields in own):
        raise CompressionError(
            f"encoder_outputs is a {type(output).__name__} that does not hold the states of {num_members} encoders; give"
            " what the ensemble's get_encoder() makes, or the inputs themselves"
        )
    return [
        BaseModelOutput(last_hidden_state=fields[MAIN]) if len(fields) == 1 else ModelOutput(fields)  # type: ignore[arg-type]
        for fields in own
    ]


def _name(field: str, place: int) -> str:
    """The first member's states keep their name; whatever else of whomever says whose it is."""
    return field if field == MAIN and not place else f"{field}_of_{place}"


def start_of(member: Any) -> int | None:
    """The token that a member's decoder begins with."""
    for name in ("decoder_start_token_id", "bos_token_id"):
        for config in (getattr(member, "generation_config", None), member.config):
            found = getattr(config, name, None)
            if isinstance(found, int):
                return found
    return None


def begun(tokens: Tensor, start: int | None, own: int | None) -> Tensor:
    """Decoder tokens (B, T) whose first says "begin here" as a member does.

    Args:
        tokens: from the beginning of the text.
        start: what the ensemble begins with.
        own: what the member begins with.
    """
    if start is None or own is None or start == own:
        return tokens
    first = torch.where(tokens[:, :1] == start, own, tokens[:, :1])
    return torch.cat([first, tokens[:, 1:]], dim=1)
