"""Counting over the processes that hold the parts of one thing; alone, a count is the count."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy
from torch import Tensor


class Across(Protocol):
    """Processes that each hold other numbers of the same series, in chunks that correspond."""

    def total(self, count: int) -> int:
        """The sum over the processes."""

    def sum(self, count: Tensor) -> Tensor:
        """The same on the device, unread; for several counts at once."""

    def table(self, counts: Sequence[int]) -> list[list[int]]:
        """Every process's row."""

    def joined(self, numbers: numpy.ndarray) -> numpy.ndarray:
        """The numbers of all processes, in their order."""

    @property
    def place(self) -> int:
        """This process's row in `table`."""

    def pieces(self, numbers: Tensor) -> Iterable[Tensor]:
        """This process's numbers, cut where the processes take turns in the order of the series."""
        return [numbers]


class Alone(Across):
    """One process holds all numbers."""

    @property
    def place(self) -> int:
        """The first."""
        return 0

    def total(self, count: int) -> int:
        """The count itself."""
        return count

    def sum(self, count: Tensor) -> Tensor:
        """The counts themselves."""
        return count

    def table(self, counts: Sequence[int]) -> list[list[int]]:
        """One row."""
        return [list(counts)]

    def joined(self, numbers: numpy.ndarray) -> numpy.ndarray:
        """The numbers themselves."""
        return numbers


ALONE = Alone()


@dataclass(frozen=True)
class Rows(Across):
    """Processes that hold columns of one matrix: in its flat order they take turns in every row."""

    of: Across

    @property
    def place(self) -> int:
        """As in `of`."""
        return self.of.place

    def total(self, count: int) -> int:
        """As in `of`."""
        return self.of.total(count)

    def sum(self, count: Tensor) -> Tensor:
        """As in `of`."""
        return self.of.sum(count)

    def table(self, counts: Sequence[int]) -> list[list[int]]:
        """As in `of`."""
        return self.of.table(counts)

    def joined(self, numbers: numpy.ndarray) -> numpy.ndarray:
        """As in `of`."""
        return self.of.joined(numbers)

    def pieces(self, numbers: Tensor) -> Iterable[Tensor]:
        """Its rows."""
        return numbers.unbind(0)


@dataclass(frozen=True)
class Runs(Rows):
    """Processes that hold runs of the numbers as they are stored, one after the other, wherever rows end."""

    def pieces(self, numbers: Tensor) -> Iterable[Tensor]:
        """The run."""
        return [numbers]
