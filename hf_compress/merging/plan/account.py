"""Where the tensors of a merge go: what is computed for each of the result, and what is left out."""

import math
from dataclasses import dataclass, field
from typing import Literal

import torch

from hf_compress.checkpoints.source import TensorInfo

Location = tuple[str, str]
"""(label of a source, name of a tensor in it)."""


@dataclass(frozen=True, kw_only=True)
class TensorTask:
    """One tensor of the result.

    Attributes:
        name: in the result.
        info: its stored type and shape.
        action: what is done.
        sources: where the members' tensors are, in the recipe's order; for a copy exactly one.
        base: where the base's is, for a merge with one.
        convert: the type the operands are converted to before they are merged; None = as they are stored.
        reason: why it is copied, or merged otherwise than by the method; for the report.
        mean: the members' weighted mean instead of the method, which needs a base and has none for this tensor.
    """

    name: str
    info: TensorInfo
    action: Literal["merge", "copy"]
    sources: tuple[Location, ...]
    base: Location | None = None
    convert: torch.dtype | None = None
    reason: str = ""
    mean: bool = False

    @property
    def num_elements(self) -> int:
        """Of the result's tensor."""
        return math.prod(self.info.shape)


@dataclass
class Account:
    """Where every tensor went.

    Attributes:
        tasks: the result's tensors, by name.
        excluded: tensors left out, with the rule that says so.
    """

    tasks: dict[str, TensorTask] = field(default_factory=dict)
    excluded: dict[Location, str] = field(default_factory=dict)

    def used(self) -> set[Location]:
        """Every input tensor that reaches the result or decides about it."""
        found: set[Location] = set()
        for task in self.tasks.values():
            found.update(task.sources)
            if task.base is not None:
                found.add(task.base)
        return found

    def counts(self) -> dict[str, int]:
        """merged, copied, excluded: how many tensors."""
        merged = sum(task.action == "merge" for task in self.tasks.values())
        return {"merged": merged, "copied": len(self.tasks) - merged, "excluded": len(self.excluded)}
