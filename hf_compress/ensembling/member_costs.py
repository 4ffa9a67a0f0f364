"""What a row costs in each member of an ensemble, in full batches and in what is left of a batch."""

from collections.abc import Sequence
from dataclasses import dataclass

from hf_compress._errors import CompressionError


@dataclass(frozen=True, kw_only=True)
class MemberCosts:
    """Of a row in each of M members.

    Attributes:
        each: M numbers, of a row in a full batch.
        unit: in words.
        alone: M numbers, of a row in a batch of its own; None where a batch costs what its rows cost.
        batch_size: rows of a full batch.
    """

    each: tuple[float, ...]
    unit: str = "MACs"
    alone: tuple[float, ...] | None = None
    batch_size: int = 1

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise CompressionError(f"batch_size={self.batch_size}; a batch has one row or more")
        if self.alone is not None and len(self.alone) != len(self.each):
            raise CompressionError(f"{len(self.alone)} costs of a row alone for {len(self.each)} members; give one each")

    def where_reached(self, reaching: Sequence[float]) -> tuple[float, ...]:
        r"""Of a row in each member, where only some rows of a batch reach it, as in a cascade.

        A call takes a time of its own beside what each row adds: with f a row in a batch of B and a for a row alone, a row
        adds b = (B f - a) / (B - 1) and a call takes c = a - b. Of a batch of which each row reaches a member with
        probability s, the member is called with probability 1 - (1 - s)^B and sees s B rows, so that a row there costs

            b + c (1 - (1 - s)^B) / (s B)

        on the mean: f where all reach it, and a where almost none does.

        Args:
            reaching: M shares of the rows, in [0, 1], that the members are asked about.
        """
        if self.alone is None or self.batch_size == 1:
            return self.each
        found = []
        for full, single, share in zip(self.each, self.alone, reaching, strict=True):
            if full >= single:  # a row of many costs no less, and nothing is to be shared
                found.append(full)
                continue
            row = (self.batch_size * full - single) / (self.batch_size - 1)
            calls = 1.0 if share <= 0 else (1 - (1 - share) ** self.batch_size) / (share * self.batch_size)
            found.append(row + (single - row) * calls)
        return tuple(found)
