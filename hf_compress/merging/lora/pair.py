"""The two checkpoints whose difference becomes an adapter: do they fit together, and what is the change of a layer?"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hf_compress._errors import CompressionError
from hf_compress._modules.matching import match_modules
from hf_compress._modules.module_kind import multiplying_classes
from hf_compress.checkpoints.names import ModelNames
from hf_compress.checkpoints.source import Source
from hf_compress.merging.members.common_names import unify
from hf_compress.tasks.heads import head_of_class

_HEADS = {
    "SEQ_CLS": ("classifier", "score"),
    "TOKEN_CLS": ("classifier", "score"),
    "QUESTION_ANS": ("qa_outputs",),
}
"""Task -> ends of the names that PEFT takes for modules_to_save: each must then be in the adapter, whole."""


class Pair:
    """Both checkpoints under the parameter names of the tuned model's class.

    Attributes:
        before: the base.
        after: the tuned model.
        model: its class without memory.
        modules: those whose change is wanted, by name.
    """

    def __init__(self, before: Source, after: Source, targets: Sequence[str] | None, ignore: Sequence[str]) -> None:
        self.after, self.before = unify([after, before]).sources
        before, after = self.before, self.after
        self.names = ModelNames(after.config, after.infos, after.place)
        if self.names.model is None:
            raise CompressionError(
                f"{after.place}: config.json names no class that transformers has, so its layers are not known; an adapter"
                " needs them"
            )
        self.model: nn.Module = self.names.model
        self.base_names = ModelNames(after.config, before.infos, before.place)
        wanted = targets or self._present(multiplying_classes())
        left_out = ignore if targets else (*ignore, *self._tied())
        self.modules = match_modules(self.model, wanted, left_out, "extract-adapter")

    def task(self, whole: Sequence[str]) -> str | None:
        """PEFT's name of what the class is for; None where PEFT would look for a head that is not saved whole."""
        head = head_of_class(type(self.model).__name__)
        task = None if head is None else head.peft
        heads = {name for name, _ in self.model.named_modules() if name.endswith(_HEADS.get(task or "", ()))}
        return task if heads <= set(whole) else None

    def _present(self, names: Sequence[str]) -> list[str]:
        """Those of the classes that the model has."""
        classes = {type(module).__name__ for module in self.model.modules()}
        return [name for name in names if name in classes]

    def _tied(self) -> list[str]:
        """Modules that share their weight with another."""
        return sorted({name.rpartition(".")[0] for pair in self.names.tied.items() for name in pair})

    def check(self, rank: int | None) -> None:
        """Refuse modules without a matrix, of another shape in the base, or all smaller than the rank.

        Raises:
            CompressionError: naming the module.
        """
        most = 0
        for name, module in self.modules.items():
            weight = getattr(module, "weight", None)
            if not isinstance(weight, Tensor) or weight.dim() < 2:
                raise CompressionError(
                    f"extract-adapter: {name} ({type(module).__name__}) has no weight matrix; target Linear, Conv1D,"
                    " Embedding or convolutions"
                )
            self._check_shapes(f"{name}.weight")
            most = max(most, min(weight.flatten(1).shape))
        if rank is not None and rank > most:
            raise CompressionError(f"rank={rank} is more than any targeted layer has; the highest possible is {most}")

    def _check_shapes(self, parameter: str) -> None:
        if self._rearranged(parameter):
            return
        shapes = []
        for names, source in self._sides():
            if parameter not in names.tensor_of:
                raise CompressionError(
                    f"{source.place} has no tensor for {parameter}; the two are different"
                    " architectures, or add the layer to ignore"
                )
            shapes.append(list(source.infos[names.tensor_of[parameter]].shape))
        tuned, base = shapes
        if tuned != base:
            raise CompressionError(
                f"{parameter} is {base} in {self.before.place} and {tuned} in {self.after.place};"
                " the two are different architectures, or add the layer to ignore"
            )

    def _rearranged(self, parameter: str) -> bool:
        return parameter in self.names.rearranged or parameter in self.base_names.rearranged

    def _sides(self) -> tuple[tuple[ModelNames, Source], ...]:
        return (self.names, self.after), (self.base_names, self.before)

    def difference(self, parameter: str) -> Tensor | None:
        """The change, tuned - base, in fp32; None where the weight is stored rearranged."""
        if self._rearranged(parameter):
            return None
        tuned, base = (source.read(names.tensor_of[parameter]) for names, source in self._sides())
        difference = tuned.to(torch.float32, copy=True).sub_(base)
        if not bool(torch.isfinite(difference).all()):
            raise CompressionError(f"{parameter} holds NaN or infinity in one of the models")
        return difference
