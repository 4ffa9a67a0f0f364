"""The difference of two models as a LoRA adapter."""

from dataclasses import dataclass
from typing import Any, Literal

from hf_compress._modules import DEFAULT_IGNORE
from hf_compress.recipe.recipes import Recipe


@dataclass(frozen=True, kw_only=True)
class ExtractAdapter(Recipe, name="extract-adapter"):
    """What fine-tuning changed, as factors; see `hf_compress.merging.lora_extract.extract_lora`.

    Attributes:
        base: folder or Hub id of the model before.
        tuned: folder or Hub id of the model after.
        output_dir: the new folder.
        rank: of every layer at most.
        energy: the share of the squared norm that each layer keeps at least, in (0, 1]; ranks then differ.
        targets: class names, module names or `re:` patterns; None = all Linear and Conv1D.
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

    def run(self, resume: bool = False) -> Any:
        """Extract it; there is nothing to resume."""
        from hf_compress.merging.lora_extract import extract_lora

        return extract_lora(
            self.base,
            self.tuned,
            self.output_dir,
            rank=self.rank,
            energy=self.energy,
            targets=self.targets,
            ignore=self.ignore,
            rest=self.rest,
            seed=self.seed,
            dtype=self.dtype,
        )
