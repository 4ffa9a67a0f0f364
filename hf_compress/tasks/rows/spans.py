"""Where an answer begins and where it ends."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from hf_compress._errors import CompressionError
from hf_compress.tasks.heads import base_model
from hf_compress.tasks.row_kind import IGNORED, RowKind, TaskRows, labelled_rows

_NEVER = -1e4
"""A logit of padding: its probability is 0 in fp32, at any sensible temperature, and its type may be fp16."""


@dataclass(frozen=True, kw_only=True)
class Spans(RowKind, name="spans"):
    """Logits (B, 2, T): two rows an example, distributions over the positions where the answer begins and where it ends.

    Positions are those of the example: padding is none, because an example has more or less of it by the company that it is
    in, and a label outside of them (cut off, or T, as transformers marks it) does not count. The loss is the sum over both
    rows, divided by the rows that count: the mean of transformers' two means, of the examples without their padding.
    """

    predicts: ClassVar[str] = "positions in a text"
    targets: ClassVar[tuple[str, ...]] = ("start_positions", "end_positions")
    counted_by_trainer: ClassVar[bool] = False
    head_divides: ClassVar[bool] = False

    @classmethod
    def of(cls, model: nn.Module) -> Self:
        """Refuses heads that search with beams (XLNet, XLM), and those that answer in another way (Tapas, ViLT)."""
        own = base_model(model)
        parameters = inspect.signature(own.forward).parameters
        if "p_mask" in parameters:
            raise CompressionError(
                f"{type(own).__name__} finds the end of an answer from its beginning, by a loss of its own, and returns no"
                f" logits of both; distillation takes heads that do ({type(own).__name__}Simple, where there is one)"
            )
        if not set(cls.targets) <= set(parameters):
            raise CompressionError(
                f"distillation knows no task loss for {type(own).__name__}, which takes no start_positions and"
                " end_positions; take a head that marks the answer in the text"
            )
        return cls()

    def num_items(self, batch: Mapping[str, Any]) -> Tensor:
        """Labels in the example."""
        inputs = next((batch[name] for name in ("input_ids", "inputs_embeds") if name in batch), None)
        length = None if inputs is None else inputs.shape[1]
        return (self._labels(batch, batch, length) != IGNORED).sum()

    def prepared(self, logits: Tensor, facts: Mapping[str, Any]) -> Tensor:
        """Padding is no position."""
        mask = _mask(facts, logits.shape[-1])
        return logits if mask is None else logits.masked_fill(~mask.unsqueeze(1), _NEVER)

    def rows(self, logits: Tensor, targets: Mapping[str, Tensor], facts: Mapping[str, Any]) -> TaskRows:
        """Beginning and end of the first example, of the second, ..."""
        return labelled_rows(logits, self._labels(targets, facts, logits.shape[-1]))

    def _labels(self, targets: Mapping[str, Any], facts: Mapping[str, Any], length: int | None) -> Tensor:
        """(B, 2), -100 where the position is not in the example; below 0 stands for the first, as in transformers."""
        labels = torch.stack([targets[name].reshape(len(targets[name])) for name in self.targets], dim=1).clamp(min=0)
        mask = _mask(facts, length)
        if mask is None:
            return labels if length is None else labels.masked_fill(labels >= length, IGNORED)
        inside = labels < mask.shape[1]
        return labels.masked_fill(~(inside & mask.gather(1, labels.clamp(max=mask.shape[1] - 1))), IGNORED)


def _mask(facts: Mapping[str, Any], length: int | None) -> Tensor | None:
    """(B, T) bool, False = padding; None where the batch does not say."""
    mask = facts.get("attention_mask")
    if not isinstance(mask, Tensor) or mask.dim() != 2 or length not in (None, mask.shape[1]):
        return None
    return mask.bool()
