"""Several LoRA adapters become one."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from hf_compress._errors import CompressionError
from hf_compress._problems import Problem, problems_in
from hf_compress.checkpoints.companions import resolve_folder
from hf_compress.inputs.paths import check_output_dir, expand
from hf_compress.merging.lora.adapter import Adapter
from hf_compress.merging.lora.factors import check_size
from hf_compress.recipe.recipe import Recipe


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

    def __post_init__(self) -> None:
        if self.weights is not None and len(self.weights) != len(self.adapters):
            raise CompressionError(
                f"weights has {len(self.weights)} numbers for {len(self.adapters)} adapters; write one for each"
            )

        if not self.adapters:
            raise CompressionError("adapters is empty; name at least one folder")
        check_size(self.rank, self.energy)

    @classmethod
    def source_problems(cls, parts: dict[str, Any]) -> list[Problem]:
        """Adapters that cannot be had or read, each by itself, and the folder."""
        checks: list[Callable[[], Any]] = [partial(_open, adapter) for adapter in parts.get("adapters", ())]
        if "output_dir" in parts:
            checks.append(lambda: check_output_dir(parts["output_dir"]))
        return problems_in(*checks)

    def preflight(self) -> list[Problem]:
        """See `source_problems`; whether the adapters fit together shows when they are merged."""
        return self.source_problems({"adapters": self.adapters, "output_dir": self.output_dir})

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


def _open(adapter: str) -> None:
    Adapter(resolve_folder(adapter, "adapter"))
