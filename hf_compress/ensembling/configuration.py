"""What an ensemble is made of, as values: members, and what is learned on validation rows."""

import math
from dataclasses import dataclass, field

from hf_compress._errors import CompressionError
from hf_compress._kinds import CheckedKinds
from hf_compress.ensembling.combiner import check_weights

ALL = "ensemble"
"""What reports call the members together."""


@dataclass(frozen=True, kw_only=True)
class EnsembleMember(metaclass=CheckedKinds):
    """One model that is asked.

    Attributes:
        model: a folder or Hub id.
        revision: of the Hub: a commit, tag or branch; by default what the repository has now.
        name: in messages and reports; by default the last part of `model`.
        weight: how much it counts, beside the others'; 0 leaves it out of every answer.
        cost: what a row costs in it, in one unit for all members: money, ms, anything. A cascade reads it; None: it is
            measured.
    """

    model: str = field(kw_only=False)
    revision: str | None = None
    name: str | None = None
    weight: float = 1.0
    cost: float | None = None

    def __post_init__(self) -> None:
        if not self.model:
            raise CompressionError("model is empty; name a folder or a Hub id")
        if self.name is not None and not self.name.strip():
            raise CompressionError("name is empty; leave it out for the last part of model, or write one")
        if self.name is not None and not self.name.isprintable():
            raise CompressionError(f"name={self.name!r} must be one line, of letters that can be seen")
        if self.name == ALL:
            raise CompressionError(f"name={ALL!r} is what the report calls all members together; choose another")
        if self.weight:  # one of 0 is right beside others
            check_weights([self.weight], 1, [self.name or self.model])
        if self.cost is not None and not (math.isfinite(self.cost) and self.cost > 0):
            raise CompressionError(f"cost={self.cost} must be a number above 0")


@dataclass(frozen=True, kw_only=True)
class EnsembleFit(metaclass=CheckedKinds):
    """What is learned of the members' answers to the validation rows, in this order.

    Attributes:
        temperatures: one for each member, so that its probabilities say how often it is right.
        weights: one for each member, that make the log-loss of the combined answer small.
    """

    temperatures: bool = False
    weights: bool = False

    @property
    def asked(self) -> bool:
        """Something is to be learned."""
        return self.temperatures or self.weights
