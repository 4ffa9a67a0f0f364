"""Several finished models become one model that asks them all: fitted, measured and written."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from hf_compress._folders import check_outside
from hf_compress.ensembling.opened import OpenedMember
from hf_compress.export.configuration import GraphExport
from hf_compress.export.push import destination, published
from hf_compress.inputs.place import place
from hf_compress.jobs.ensemble.graph import graph_of_members, graph_to_write
from hf_compress.jobs.ensemble.run import EnsembleResult, build
from hf_compress.jobs.ensemble.settings import EnsembleSettings
from hf_compress.recipe.checks import Check
from hf_compress.recipe.recipe import Recipe


def place_outside(place: Path, opened: Sequence[OpenedMember]) -> None:
    """The result lies in none of its members."""
    check_outside(place, [member.folder for member in opened])


@dataclass(frozen=True, kw_only=True)
class EnsembleModels(Recipe, EnsembleSettings, name="ensemble"):
    """`EnsembleSettings` with a place to write to.

    Attributes:
        output_dir: the new folder.
        title: how report and card call the result; by default the folder's name.
        export: where the result is published, and whether one graph of all members is written beside them.
    """

    output_dir: str
    title: str | None = None
    export: GraphExport = field(default_factory=GraphExport)

    checks: ClassVar[tuple[Check, ...]] = (graph_to_write,)
    opens = (place, destination, place_outside, graph_of_members)
    after_interruption = "the same command begins again"

    def run(self, resume: bool = False) -> Any:
        """Ask, fit, write, load back, measure.

        Args:
            resume: makes no difference; what an interrupted run left is removed, and it begins again.
        """
        found = self.open()
        done: EnsembleResult = build(self, found["opened"], found["place"], found["beside"])
        return published(done, done.folder, self.export)
