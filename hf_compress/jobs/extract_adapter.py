"""The difference of two models as a LoRA adapter."""

from dataclasses import dataclass
from typing import Any

from hf_compress.inputs.place import place
from hf_compress.merging.lora.extract import AdapterExtraction, write_difference
from hf_compress.recipe.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class ExtractAdapter(Recipe, AdapterExtraction, name="extract-adapter"):
    """An `AdapterExtraction` with a place to write to.

    Attributes:
        output_dir: the new folder.
    """

    output_dir: str

    opens = (place,)

    def run(self, resume: bool = False) -> Any:
        """Extract it; there is nothing to resume."""
        opened = self.open()
        return write_difference(self, opened["pair"], opened["place"])
