"""Members whose per-token rows are brought into one order, so that every one presents the same shape."""

import functools
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hf_compress.checkpoints.source import Source, TensorInfo

_BLOCK = 2**14
"""Rows averaged at a time: bounds the fp32 copies where two vocabularies have little in common."""


class RowTable:
    """Where each row of the result lies in each source; shared by all wrapped sources.

    A row that a source lacks is the mean over the sources that have it (fp32 inside), or zeros where none has. A row that
    the user took from one source is that one in every source, so whatever averages them gets it back.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        axes: Sequence[dict[str, int]],
        rows: Tensor,
        taken: Tensor,
        lent: Tensor | None = None,
        padding: int | None = None,
    ) -> None:
        """Args:
        sources: S unwrapped sources.
        axes: per source, tensor name -> the dimension that follows the vocabulary.
        rows: (S, R) int64, the row of source s that holds result row r; -1 = it has none.
        taken: (R,) int64, the source whose row every source presents; -1 = each its own.
        lent: (R,) int64, the source whose row those present that have none; -1 = the mean; None = -1 everywhere.
        padding: the first of the last rows, which in every source are the mean of its rows before; None = there are none.
        """
        self.rows, self.axes, self.padding = rows, axes, padding
        self._sources = sources
        lacking = (rows < 0).any(0) | (taken >= 0)
        self.positions = lacking.nonzero().flatten()
        """(U,) the result's rows that at least one source does not take from itself."""
        chosen = taken[self.positions]
        giver = chosen if lent is None else torch.where(chosen < 0, lent[self.positions], chosen)
        own = rows[:, self.positions]
        number = torch.arange(len(sources)).unsqueeze(1)
        self._gives = (own >= 0) & ((giver < 0) | (giver == number))
        self.takes = (own < 0) | (chosen >= 0)
        """(S, U) bool: source s presents the shared row."""
        self._shared: dict[str, Tensor] = {}
        self._waiting: dict[str, set[int]] = {}
        self._lock = threading.Lock()

    def shared(self, name: str, reader: int) -> Tensor:
        """The shared rows of one tensor: its shape with U rows. Kept until every source has asked for it."""
        with self._lock:
            if name not in self._shared:
                self._shared[name] = self._average(name)
                self._waiting[name] = {number for number, axes in enumerate(self.axes) if name in axes}
            rows = self._shared[name]
            self._waiting[name].discard(reader)
            if not self._waiting[name]:
                del self._shared[name], self._waiting[name]
        return rows

    def _average(self, name: str) -> Tensor:
        read = {number: source.read(name) for number, source in enumerate(self._sources) if name in self.axes[number]}
        axis = next(self.axes[number][name] for number in read)
        first = next(iter(read.values()))
        shape = list(first.shape)
        shape[axis] = len(self.positions)
        dtype = functools.reduce(torch.promote_types, (own.dtype for own in read.values()))
        shared = torch.empty(shape, dtype=dtype)
        for begin in range(0, len(self.positions), _BLOCK):
            block = self.positions[begin : begin + _BLOCK]
            shape[axis] = len(block)
            total, count = torch.zeros(shape, dtype=torch.float32), torch.zeros(len(block))
            for number, own in read.items():
                given = self._gives[number, begin : begin + _BLOCK].nonzero().flatten()
                total.index_add_(axis, given, own.index_select(axis, self.rows[number, block[given]]).float())
                count[given] += 1
            along = [1] * total.dim()
            along[axis] = -1
            shared.narrow(axis, begin, len(block)).copy_(total.div_(count.clamp_min(1).view(along)))
        return shared


class AlignedSource(Source):
    """A source with the result's vocabulary."""

    def __init__(self, source: Source, number: int, table: RowTable, config: dict[str, Any]) -> None:
        """Args:
        source: what is wrapped.
        number: which of the table's sources it is.
        table: shared with the others.
        config: the source's config.json with the new size.
        """
        self.label, self.place, self.config = source.label, source.place, config
        self._source, self._number, self._table = source, number, table
        infos = dict(source.infos)
        for name, axis in table.axes[number].items():
            shape = list(infos[name].shape)
            shape[axis] = table.rows.shape[1]
            infos[name] = TensorInfo(dtype=infos[name].dtype, shape=tuple(shape))
        self.infos = infos

    def read(self, name: str) -> Tensor:
        """One tensor, with the result's rows where it follows the vocabulary."""
        axis = self._table.axes[self._number].get(name)
        if axis is None:
            return self._source.read(name)
        aligned = self._source.read(name).index_select(axis, self._table.rows[self._number].clamp_min(0))
        if len(self._table.positions):
            shared = self._table.shared(name, self._number)
            taken = self._table.takes[self._number].nonzero().flatten()
            values = shared.index_select(axis, taken).to(aligned.dtype)
            aligned.index_copy_(axis, self._table.positions[taken], values)
        if self._table.padding is not None:
            first = self._table.padding
            mean = aligned.narrow(axis, 0, first).mean(axis, keepdim=True)
            aligned.narrow(axis, first, aligned.shape[axis] - first).copy_(mean)
        return aligned

    def files(self) -> list[Path]:
        """The weight files behind it; sorted."""
        return self._source.files()
