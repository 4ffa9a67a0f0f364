"""Multiplications of an ensemble: the sum over the members that are asked."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress._forward.macs import count_macs
from hf_compress.checkpoints.manifest import Manifest
from hf_compress.ensembling.modelling.models import Cascade

STAGES = (
    "{name} is a cascade: MACs are those of its members, by the shares of {how}; times are of made-up rows, on which other"
    " stages may answer, and its own report has those of real ones"
)


def shares_of(model: Any, folder: Path) -> tuple[tuple[float, ...] | None, str]:
    """The shares of rows that each stage of a cascade answers, and where they are from; None for other models.

    Args:
        model: loaded.
        folder: where it lies: its manifest has the shares of the test rows.
    """
    if not isinstance(model, Cascade):
        return None, ""
    try:
        stages = (Manifest.read(folder).facts.get("report") or {}).get("stages") or ()
        shares = tuple(float(one["test"]) for one in stages)
    except (CompressionError, KeyError, TypeError, ValueError):
        shares = ()
    if len(shares) == len(model.members):
        return shares, "its test rows, as compression.json has them"
    return (*(0.0,) * (len(model.members) - 1), 1.0), "rows that reach the last stage, as nothing beside it says more"


def macs_by_shares(model: Any, batch: Mapping[str, Tensor], shares: tuple[float, ...]) -> int:
    """MACs of a batch of a cascade: a row pays every stage that it visits.

    Args:
        model: a cascade.
        batch: its inputs.
        shares: of the rows, by the stage that answers.
    """
    visited = [1 - sum(shares[:stage]) for stage in range(len(shares))]
    own = model.member_inputs(batch)
    each = [count_macs(member, read) for member, read in zip(model.members, own, strict=True)]
    return round(sum(share * macs for share, macs in zip(visited, each, strict=True)))
