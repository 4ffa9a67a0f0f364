"""The weights of an ensemble that are no member's, in a file of their own beside the config."""

from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers.utils.hub import cached_file

from hf_compress._errors import CompressionError, reason_of
from hf_compress.ensembling.modelling.classifier import ClassifierEnsemble

OWN_WEIGHTS = "ensemble.safetensors"


class LearnedEnsemble(ClassifierEnsemble):
    """Has learned something above its members: modules of its own, which stand in `ensemble.safetensors`."""

    def __init__(self, config: Any, members: Any = None) -> None:
        super().__init__(config, members)
        for name, part in self.named_children():
            if name != "members":
                part.to(self.device_of(self.members[0]))

    def _init_weights(self, module: Any) -> None:
        """Nothing: own parts begin as they are made, and members as they are."""

    def save_own_parts(self, folder: Any, state_dict: dict[str, Any] | None) -> None:
        """Write them, or what a given state dict says that they are."""
        found = {key: value for key, value in (state_dict or self.state_dict()).items() if not key.startswith("members.")}
        tensors = {key: value.detach().cpu().contiguous() for key, value in found.items()}
        save_file(tensors, Path(folder) / OWN_WEIGHTS, metadata={"format": "pt"})

    def load_own_parts(self, place: dict[str, Any]) -> None:
        """Read them.

        Raises:
            CompressionError: the file is not there, cannot be read, or does not fit.
        """
        where = {key: value for key, value in place.items() if value not in (None, "")}
        model = where.pop("model")
        shown = Path(str(model)) / str(where.get("subfolder", "")) / OWN_WEIGHTS
        try:
            found = load_file(str(cached_file(model, OWN_WEIGHTS, **where)))
        except (OSError, ValueError, SafetensorError) as error:
            raise CompressionError(f"{shown}, the weights above the members, cannot be read: {reason_of(error)}") from error
        own = {key: value for key, value in self.state_dict().items() if not key.startswith("members.")}
        for key in sorted({*own, *found}):
            shapes = [tuple(tensors[key].shape) if key in tensors else "none" for tensors in (own, found)]
            if shapes[0] != shapes[1]:
                raise CompressionError(
                    f"{shown}: {key} has the shape {shapes[1]}, and this ensemble's is {shapes[0]}; save it again with the"
                    " config that it was learned for"
                )
        if all(tensor.is_meta for tensor in own.values()):  # loaded without memory, to look at shapes
            return
        self.load_state_dict(found, strict=False)
