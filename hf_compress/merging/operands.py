"""What a merge method gets: one tensor of every member, whole or one chunk of it."""

import dataclasses
import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

CHUNK = 2**18
"""Elements of one chunk: 1 MiB in fp32, so that a chunk of every member stays in a core's cache. Random numbers are drawn
per chunk, so another value would give other masks."""


@dataclass(frozen=True, kw_only=True)
class Operands:
    """One tensor of every member, in the recipe's order, ready to be merged.

    Attributes:
        name: the tensor's name in the merged checkpoint.
        members: the members' labels; M of them.
        tensors: M tensors of one shape, in the type they are stored in. They may be memory-mapped: never write to them.
        base: the base model's tensor, of the same shape, or None.
        values: per-member parameters by name ("weight", "density", ...), M numbers each.
        statistics: what the method `needs`, by name; M tensors of the shape of `tensors` each (chunked with them), or of
            any other shape (handed over whole): gram matrices are (I, I), or (I, I, 1) where the inputs lie along the
            weight's first dimension.
        seed: the recipe's.
        offset: flat index of the first element of `tensors` in the whole tensor; 0 for a whole one.
        num_elements: of the whole tensor.
    """

    name: str
    members: tuple[str, ...]
    tensors: tuple[Tensor, ...]
    base: Tensor | None = None
    values: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    statistics: Mapping[str, tuple[Tensor, ...]] = field(default_factory=dict)
    seed: int = 0
    offset: int = 0
    num_elements: int = 0

    def __post_init__(self) -> None:
        if not self.num_elements:
            object.__setattr__(self, "num_elements", math.prod(self.tensors[0].shape))

    @property
    def weights(self) -> tuple[float, ...]:
        """The members' weights; all 1 where none are given."""
        return self.values.get("weight", (1.0,) * len(self.tensors))

    def delta(self, member: int) -> Tensor:
        """The task vector of one member, tensors[member] - base: a new fp32 tensor of the same shape."""
        assert self.base is not None, self.name
        return self.tensors[member].to(torch.float32, copy=True).sub_(self.base)

    def deltas(self) -> list[Tensor]:
        """All task vectors."""
        return [self.delta(member) for member in range(len(self.tensors))]

    def chunks(self) -> Iterator["Operands"]:
        """The same operands flat, `CHUNK` elements at a time; views, nothing is copied."""
        size = self.num_elements
        flat = [tensor.reshape(-1) for tensor in self.tensors]
        base = None if self.base is None else self.base.reshape(-1)
        same = {
            name: tuple(value.reshape(-1) if value.numel() == size else value for value in values)
            for name, values in self.statistics.items()
        }
        for start in range(0, size, CHUNK):
            part = slice(start, start + CHUNK)
            yield dataclasses.replace(
                self,
                tensors=tuple(tensor[part] for tensor in flat),
                base=None if base is None else base[part],
                statistics={
                    name: tuple(value[part] if value.numel() == size else value for value in values)
                    for name, values in same.items()
                },
                offset=start,
                num_elements=size,
            )

    def to(self, device: torch.device) -> "Operands":
        """The same operands with their tensors on `device`."""
        return dataclasses.replace(
            self,
            tensors=tuple(tensor.to(device) for tensor in self.tensors),
            base=None if self.base is None else self.base.to(device),
            statistics={name: tuple(value.to(device) for value in values) for name, values in self.statistics.items()},
        )

    def generator(self, member: int) -> torch.Generator:
        """Random numbers that depend on nothing but (seed, member's label, tensor name, offset).

        So they are the same whatever the order of members, tensors, shards and threads.
        """
        key = f"{self.seed}\0{self.members[member]}\0{self.name}\0{self.offset}".encode()
        number = int.from_bytes(hashlib.sha256(key).digest()[:8], "big", signed=True)
        return torch.Generator().manual_seed(number)
