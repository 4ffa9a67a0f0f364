"""The difference of two models as a LoRA adapter."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hf_compress._errors import CompressionError
from hf_compress._folders import free_place
from hf_compress._modules.matching import DEFAULT_IGNORE
from hf_compress._paths import expand
from hf_compress.checkpoints.dequantized import dense_source
from hf_compress.checkpoints.location import resolve_folder
from hf_compress.checkpoints.source import Source, open_source
from hf_compress.merging.lora.factors import check_size
from hf_compress.recipe.recipe import Recipe


def size(rank: int | None, energy: float | None) -> None:
    """At least one of them, and right."""
    if rank is None and energy is None:
        raise CompressionError("neither rank nor energy is given; give one, e.g. rank=16 or energy=0.95")
    check_size(rank, energy)


def before(base: str) -> Source:
    """The model before; whether the two fit together shows when they are compared."""
    return dense_source(open_source(resolve_folder(base, "base"), "base"))


def after(tuned: str) -> Source:
    """The model after."""
    return dense_source(open_source(resolve_folder(tuned, "tuned"), "tuned"))


def place(output_dir: str) -> Path:
    """Where the result will be."""
    return free_place(output_dir, "output_dir")


@dataclass(frozen=True, kw_only=True)
class ExtractAdapter(Recipe, name="extract-adapter"):
    """What fine-tuning changed, as factors; see `hf_compress.merging.lora.extract.extract_lora`.

    Attributes:
        base: folder or Hub id of the model before.
        tuned: folder or Hub id of the model after.
        output_dir: the new folder.
        rank: of every layer at most.
        energy: the share of the squared norm that each layer keeps at least, in (0, 1]; ranks then differ.
        targets: class names, module names or `re:` patterns; None = all Linear and Conv1D whose weight is not
            shared.
        ignore: the same syntax; wins over targets.
        rest: "save" carries other changed weights whole where PEFT can, "report" leaves them out.
        seed: of the random vectors.
        dtype: of the factors.
    """

    base: str
    tuned: str
    output_dir: str
    rank: int | None = None
    energy: float | None = None
    targets: tuple[str, ...] | None = None
    ignore: tuple[str, ...] = DEFAULT_IGNORE
    rest: Literal["save", "report"] = "save"
    seed: int = 0
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"

    checks = (size,)
    opens = (before, after, place)

    def run(self, resume: bool = False) -> Any:
        """Extract it; there is nothing to resume."""
        from hf_compress.merging.lora.extract import extract_lora

        return extract_lora(
            self.base,
            self.tuned,
            expand(self.output_dir, "output_dir"),
            rank=self.rank,
            energy=self.energy,
            targets=self.targets,
            ignore=self.ignore,
            rest=self.rest,
            seed=self.seed,
            dtype=self.dtype,
        )
