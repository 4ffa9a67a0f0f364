"""What kind of file parsed YAML is, among those that mergekit's tools read."""

from collections.abc import Mapping
from typing import Any

import yaml

from hf_compress._yaml import PlainLoader


def is_mergekit(data: Any) -> bool:
    """Whether parsed YAML is a mergekit configuration and not a recipe: it names a merge_method, and no job."""
    return isinstance(data, Mapping) and "merge_method" in data and "job" not in data


def foreign_kind(data: Any) -> str | None:
    """A sentence about a file of another of mergekit's tools, by its keys; None for anything else."""
    if not isinstance(data, Mapping) or "job" in data:
        return None
    if "experts" in data:
        return (
            "this is a mergekit-moe file (experts), which makes one mixture of experts out of dense models; that is not"
            " done here: run mergekit-moe on it"
        )
    if "genome" in data:
        return (
            "this is a mergekit-evolve file (genome), which searches for the numbers of a merge; here that is done from"
            " Python, see search_coefficients in docs/merging/methods-data.md"
        )
    return None


def holds_several_documents(text: str) -> bool:
    """Whether the YAML has more than one document, as mergekit-multi files do; False where it is not YAML."""
    try:
        starts = sum(isinstance(event, yaml.DocumentStartEvent) for event in yaml.parse(text, Loader=PlainLoader))
    except (yaml.YAMLError, RecursionError):  # whoever reads it says what is wrong
        return False
    return starts > 1
