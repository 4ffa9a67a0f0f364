"""Counts and numbers of the processes that hold the parts of one tensor."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy
import torch
import torch.distributed as dist
from torch import Tensor

from hf_compress._sharding.across import Across


@dataclass(frozen=True)
class Group(Across):
    """A process group whose members hold neighbouring slices, in their order.

    Attributes:
        group: of torch.distributed.
        device: where its tensors must lie to be sent; not where weights do that are offloaded.
    """

    group: dist.ProcessGroup
    device: torch.device

    @property
    def place(self) -> int:
        """The rank inside the group."""
        return dist.get_rank(self.group)

    def total(self, count: int) -> int:
        """The sum over the processes."""
        return int(self.sum(torch.tensor(count, device=self.device)))

    def sum(self, count: Tensor) -> Tensor:
        """The sums over the processes."""
        found = count.to(self.device, copy=True)
        dist.all_reduce(found, group=self.group)
        return found.to(count.device)

    def table(self, counts: Sequence[int]) -> list[list[int]]:
        """Every process's row; all have the same length."""
        return [row.tolist() for row in self._all(torch.tensor(counts, dtype=torch.int64, device=self.device))]

    def joined(self, numbers: numpy.ndarray) -> numpy.ndarray:
        """The numbers of all processes, in their order, in fp64, which holds those of any type that is compared."""
        sizes = [size for (size,) in self.table([numbers.size])]
        padded = torch.zeros(max(sizes), dtype=torch.float64, device=self.device)
        padded[: numbers.size] = torch.from_numpy(numbers)
        return torch.cat([row[:size] for row, size in zip(self._all(padded), sizes, strict=True)]).cpu().numpy()

    def _all(self, row: Tensor) -> list[Tensor]:
        rows = [torch.empty_like(row) for _ in range(dist.get_world_size(self.group))]
        dist.all_gather(rows, row, group=self.group)
        return rows
