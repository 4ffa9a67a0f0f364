"""Several LoRA adapters become one."""

from dataclasses import dataclass
from typing import Any

from hf_compress.inputs.place import place
from hf_compress.merging.lora.combine import AdapterMerge, write_sum
from hf_compress.recipe.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class MergeAdapters(Recipe, AdapterMerge, name="merge-adapters"):
    """An `AdapterMerge` with a place to write to.

    Attributes:
        output_dir: the new folder.
    """

    output_dir: str

    opens = (place,)

    def run(self, resume: bool = False) -> Any:
        """Merge them; it takes seconds, so there is nothing to resume."""
        opened = self.open()
        return write_sum(self, opened["opened"], opened["place"])
