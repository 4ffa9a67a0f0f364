"""The difference of two models as a LoRA adapter."""

from dataclasses import dataclass, field
from typing import Any

from hf_compress._hub.publication import Publication
from hf_compress.export.publishable import check_base
from hf_compress.export.push import destination, published
from hf_compress.inputs.place import place
from hf_compress.merging.lora.extract import AdapterExtraction, write_difference
from hf_compress.recipe.recipe import Recipe


def base_of_others(export: Publication, base: str) -> None:
    """An adapter that is published names a base that others have."""
    if export.repo_id is not None:
        check_base(base, "base")


@dataclass(frozen=True, kw_only=True)
class ExtractAdapter(Recipe, AdapterExtraction, name="extract-adapter"):
    """An `AdapterExtraction` with a place to write to.

    Attributes:
        output_dir: the new folder.
        export: where it is published.
    """

    output_dir: str
    export: Publication = field(default_factory=Publication)

    opens = (place, destination, base_of_others)

    def run(self, resume: bool = False) -> Any:
        """Extract it; there is nothing to resume."""
        opened = self.open()
        return published(write_difference(self, opened["pair"], opened["place"]), opened["place"], self.export)
