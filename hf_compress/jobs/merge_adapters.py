"""Several LoRA adapters become one."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from hf_compress._errors import CompressionError
from hf_compress._folders import free_place
from hf_compress._paths import expand
from hf_compress._problems import RecipeError, problems_in
from hf_compress.checkpoints.location import resolve_folder
from hf_compress.merging.lora.adapter import Adapter
from hf_compress.merging.lora.factors import check_size
from hf_compress.recipe.recipe import Recipe


def one_weight_each(weights: Sequence[float] | None, adapters: Sequence[str]) -> None:
    """As many weights as adapters."""
    if weights is not None and len(weights) != len(adapters):
        raise CompressionError(f"weights has {len(weights)} numbers for {len(adapters)} adapters; write one for each")


def something(adapters: Sequence[str]) -> None:
    """There is something to merge."""
    if not adapters:
        raise CompressionError("adapters is empty; name at least one folder")


def size(rank: int | None, energy: float | None) -> None:
    """See `check_size`."""
    check_size(rank, energy)


def opened(adapters: Sequence[str]) -> list[Adapter]:
    """Each by itself; whether they fit together shows when they are merged."""
    found: list[Adapter] = []
    problems = problems_in(*(partial(_open, adapter, found) for adapter in adapters))
    if problems:
        raise RecipeError(problems)
    return found


def _open(adapter: str, found: list[Adapter]) -> None:
    found.append(Adapter(resolve_folder(adapter, "adapter")))


def place(output_dir: str) -> Path:
    """Where the result will be."""
    return free_place(output_dir, "output_dir")


@dataclass(frozen=True, kw_only=True)
class MergeAdapters(Recipe, name="merge-adapters"):
    """The weighted sum of PEFT LoRA adapters of one base; see `hf_compress.merging.lora.combine.merge_adapters`.

    Attributes:
        adapters: folders or Hub ids.
        output_dir: the new folder.
        weights: one per adapter; None = 1 for each.
        rank: cut to this rank; None (and no energy) = exact, the sum of the ranks.
        energy: the share of the squared norm that each layer keeps at least, in (0, 1].
        base: what the result names as its base; None = the adapters' own.
        whole_from: the number, from 0, of the adapter whose whole tensors the result has; None = they must be equal.
        dtype: of the factors.
    """

    adapters: tuple[str, ...]
    output_dir: str
    weights: tuple[float, ...] | None = None
    rank: int | None = None
    energy: float | None = None
    base: str | None = None
    whole_from: int | None = None
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"

    checks = (one_weight_each, something, size)
    opens = (opened, place)

    def run(self, resume: bool = False) -> Any:
        """Merge them; it takes seconds, so there is nothing to resume."""
        from hf_compress.merging.lora.combine import merge_adapters

        return merge_adapters(
            self.adapters,
            expand(self.output_dir, "output_dir"),
            weights=self.weights,
            rank=self.rank,
            energy=self.energy,
            base=self.base,
            whole_from=self.whole_from,
            dtype=self.dtype,
        )
