"""Several LoRA adapters become one."""

from dataclasses import dataclass
from typing import Any, Literal

from hf_compress._errors import CompressionError
from hf_compress.recipe.recipes import Recipe


@dataclass(frozen=True, kw_only=True)
class MergeAdapters(Recipe, name="merge-adapters"):
    """The weighted sum of PEFT LoRA adapters of one base; see `hf_compress.merging.lora_merge.merge_adapters`.

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

    def __post_init__(self) -> None:
        if self.weights is not None and len(self.weights) != len(self.adapters):
            raise CompressionError(
                f"weights has {len(self.weights)} numbers for {len(self.adapters)} adapters; write one for each"
            )

    def run(self, resume: bool = False) -> Any:
        """Merge them; it takes seconds, so there is nothing to resume."""
        from hf_compress.merging.lora_merge import merge_adapters

        return merge_adapters(
            self.adapters,
            self.output_dir,
            weights=self.weights,
            rank=self.rank,
            energy=self.energy,
            base=self.base,
            whole_from=self.whole_from,
            dtype=self.dtype,
        )
