"""Checkpoints whose shared weights are stored apart: an embedding and a head that go different ways."""

from collections.abc import Collection, Mapping
from typing import Any

from hf_compress.checkpoints.names import ModelNames
from hf_compress.checkpoints.renamed import RenamedSource
from hf_compress.checkpoints.source import Source

TIED = "tie_word_embeddings"
Pair = tuple[str, str]
"""(parameter, the one whose weight it shares)."""


def tie_flags(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a config says about ties, its nested ones too."""
    nested = {key: tie_flags(value) for key, value in config.items() if isinstance(value, Mapping)}
    own = {TIED: config[TIED]} if TIED in config else {}
    return {**own, **{key: value for key, value in nested.items() if value}}


def without_ties(config: dict[str, Any]) -> dict[str, Any]:
    """The config with its flag off, and the flags of nested ones."""
    changed = {
        key: without_ties(value) if isinstance(value, dict) and tie_flags(value) else value for key, value in config.items()
    }
    return {**changed, TIED: False}


def remaining_ties(
    config: dict[str, Any], ties: Mapping[str, str], parted: Collection[Pair], place: str
) -> set[Pair] | None:
    """The ties that stay when the flags are off, None where the class keeps `parted` shared whatever they say.

    Even then transformers does not tie two weights that are both stored and differ.

    Args:
        config: of the checkpoint.
        ties: with the flags as they are.
        parted: those that must go.
        place: for errors.
    """
    still = set(ModelNames(without_ties(config), {}, place).tied.items())
    return None if set(parted) & still else still & set(ties.items())


def untied(source: Source, names: ModelNames, parted: Collection[Pair]) -> Source:
    """The checkpoint with each of the shared weights stored apart, and a config that says so; nothing is copied.

    Args:
        source: with ties.
        names: its own.
        parted: the ties that must go; the flag takes others with them.
    """
    left = remaining_ties(source.config, names.tied, parted, source.place)
    gone = set(parted) if left is None else set(names.tied.items()) - left
    shown = {name: name for name in source.infos}
    for name in sorted({name for pair in gone for name in pair}):
        stored = next((names.tensor_of[item] for item in names.tied_group(name) if item in names.tensor_of), None)
        if name not in names.tensor_of and stored is not None:
            shown[name] = stored
    return RenamedSource(source, shown, source.config if left is None else without_ties(source.config))
