"""The contract of a fusion: which members are asked about a row, and what becomes of their answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from hf_compress._registry import Strategy
from hf_compress.ensembling.combiner import Combiner
from hf_compress.ensembling.member_costs import MemberCosts


@dataclass(frozen=True, kw_only=True)
class Said:
    """What members say of labelled rows that none of them was trained on.

    Attributes:
        logits: (M, N, C), divided by the members' temperatures, classes in the first member's order.
        labels: (N,) classes.
        names: of the members.
        combiner: that the ensemble is to have, for kinds that have one.
        costs: of a row in each member; None where nobody knows.
        seed: of what is drawn.
    """

    logits: Tensor
    labels: Tensor
    names: tuple[str, ...]
    combiner: Combiner
    costs: MemberCosts | None = None
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Fused:
    """What a fusion has learned, or was told.

    Attributes:
        options: of `from_members` of the fusion's ensemble.
        learned: what was learned, a word each.
        notes: what that is worth on the rows that taught it, a sentence each.
        facts: the same as plain data, for manifest and report.
    """

    options: dict[str, Any] = field(default_factory=dict)
    learned: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Fusion(Strategy, kind="fusion", package="hf_compress.ensembling.fusions"):
    """Makes one answer of what members say: who is asked, and what is learned of it on validation rows.

    Attributes:
        ensemble: the name of its class in `hf_compress/ensembling/modelling/models.py`.
        whole_rows: it is for models that choose one class for a whole row, and for no others.
        takes: the settings of an ensemble that it makes something of: "weights", "combiner", "leave_out".
    """

    ensemble: ClassVar[str]
    whole_rows: ClassVar[bool] = True
    takes: ClassVar[tuple[Literal["weights", "combiner", "leave_out"], ...]] = ()

    @property
    def learns(self) -> bool:
        """It cannot be made without validation rows."""
        return True

    @property
    def asks_costs(self) -> Literal["macs", "ms"] | None:
        """What a row costs in each member, where it has to know it; None where it does not."""
        return None

    def check_members(self, names: Sequence[str], costs: Sequence[float | None]) -> None:
        """Refuse members that it cannot be made of, before anything is opened; by default none.

        Args:
            names: of the members.
            costs: of a row in each, where the recipe says so.

        Raises:
            CompressionError: saying which.
        """

    def check_rows(self, num_rows: int) -> None:
        """Refuse too few rows to learn from, before a member is asked; by default none are.

        Args:
            num_rows: of the validation split.

        Raises:
            CompressionError: saying how many it takes.
        """

    def given(self, costs: tuple[float, ...] | None = None) -> Fused:
        """What it is without rows; asked where `learns` is False.

        Args:
            costs: of a row in each member, where they are known.
        """
        return Fused()

    def fit(self, said: Said) -> Fused:
        """What it learns.

        Args:
            said: of validation rows.

        Raises:
            CompressionError: nothing can be learned of them.
        """
        raise TypeError(f"{type(self).__name__} defines no fit()")

    def answer(self, fused: Fused, logits: Tensor, combiner: Combiner, weights: Tensor | None) -> Tensor:
        """What the ensemble says: (M, N, C), as `Said` has them -> (N, C) log-probabilities.

        Args:
            fused: from `fit` or `given`.
            logits: of the members.
            combiner: of the ensemble.
            weights: (M,) of the members, None = equal.
        """
        raise TypeError(f"{type(self).__name__} defines no answer()")

    def settled(self, fused: Fused, logits: Tensor) -> Tensor:
        """(N,) bool: rows whose answer does not jump where logits (M, N, C) move a little; by default all."""
        return torch.ones(logits.shape[1], dtype=torch.bool)

    def on_rows(self, fused: Fused, logits: Tensor, labels: Tensor, costs: Sequence[float]) -> Mapping[str, Any]:
        """What is to be said of other rows: `cost`, the mean of a row; and what a kind has beside it.

        Args:
            fused: from `fit` or `given`.
            logits: (M, N, C), as `Said` has them.
            labels: (N,).
            costs: of a row in each member.
        """
        return {"cost": float(sum(costs))}
