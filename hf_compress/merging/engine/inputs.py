"""What a merge reads: models, adapters and statistics, opened."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from hf_compress._problems import check_all
from hf_compress.checkpoints.location import resolve_folder
from hf_compress.checkpoints.source import Source, open_source
from hf_compress.merging.configuration import BASE, Member
from hf_compress.merging.lora.adapter import Adapter


@dataclass
class Inputs:
    """Everything by the label of its model, the base first.

    Attributes:
        folders: those of the models.
        sources: the models.
        adapters: of those that have one.
        statistics: name of the statistic -> label -> its folder, opened.
    """

    folders: dict[str, Path] = field(default_factory=dict)
    sources: dict[str, Source] = field(default_factory=dict)
    adapters: dict[str, Adapter] = field(default_factory=dict)
    statistics: dict[str, dict[str, Source]] = field(default_factory=dict)


def open_inputs(members: Sequence[Member], base: str | None = None, base_adapter: str | None = None) -> Inputs:
    """Open all of them, so that the refusal names every one that cannot be had.

    Args:
        members: of a merge.
        base: folder or Hub id.
        base_adapter: the same.

    Raises:
        RecipeError: with every problem.
    """
    found = Inputs()

    def model(label: str, name: str) -> None:
        folder = resolve_folder(name, label)
        found.folders[label], found.sources[label] = folder, open_source(folder, label)

    def adapter(label: str, name: str) -> None:
        found.adapters[label] = Adapter(resolve_folder(name, label))

    def statistic(label: str, name: str, folder: str) -> None:
        called = f"{label} ({name})"
        found.statistics.setdefault(name, {})[label] = open_source(resolve_folder(folder, called), called)

    models = [(BASE, base), *((member.label, member.model) for member in members)]
    adapters = [(BASE, base_adapter), *((member.label, member.adapter) for member in members)]
    check_all(
        *(partial(model, label, name) for label, name in models if name is not None),
        *(partial(adapter, label, name) for label, name in adapters if name is not None),
        *(
            partial(statistic, member.label, name, folder)
            for member in members
            for name, folder in member.statistics.items()
        ),
    )
    return found
