"""Several LoRA adapters become one."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hf_compress._hub.publication import Publication
from hf_compress.export.publishable import check_base
from hf_compress.export.push import destination, published
from hf_compress.inputs.place import place
from hf_compress.merging.lora.adapter import Adapter
from hf_compress.merging.lora.agreement import common_base
from hf_compress.merging.lora.combine import AdapterMerge, write_sum
from hf_compress.recipe.recipe import Recipe


def base_of_others(export: Publication, opened: Sequence[Adapter], base: str | None = None) -> None:
    """An adapter that is published names a base that others have."""
    if export.repo_id is not None:
        check_base(common_base(opened, base), "base")


@dataclass(frozen=True, kw_only=True)
class MergeAdapters(Recipe, AdapterMerge, name="merge-adapters"):
    """An `AdapterMerge` with a place to write to.

    Attributes:
        output_dir: the new folder.
        export: where it is published.
    """

    output_dir: str
    export: Publication = field(default_factory=Publication)

    opens = (place, destination, base_of_others)

    def run(self, resume: bool = False) -> Any:
        """Merge them; it takes seconds, so there is nothing to resume."""
        opened = self.open()
        return published(write_sum(self, opened["opened"], opened["place"]), opened["place"], self.export)
