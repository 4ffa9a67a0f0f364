"""Rows of several sources in one order."""

import threading

import torch

from hf_compress.checkpoints.source import Source, TensorInfo
from hf_compress.merging.members.aligned import AlignedSource, RowTable


class _Held(Source):
    """Tensors in memory; counts how often each is read."""

    def __init__(self, label, **tensors):
        self.label = self.place = label
        self.config = {}
        self.tensors = tensors
        self.infos = {name: TensorInfo(dtype=value.dtype, shape=tuple(value.shape)) for name, value in tensors.items()}
        self.num_reads = 0

    def read(self, name):
        self.num_reads += 1
        return self.tensors[name]


def _wrap(sources, rows, taken=None, axis=0):
    rows = torch.tensor(rows)
    table = RowTable(
        sources, [{"e": axis}] * len(sources), rows, torch.tensor(taken or [-1] * rows.shape[1], dtype=torch.int64)
    )
    return table, [AlignedSource(source, number, table, {}) for number, source in enumerate(sources)]


def test_rows_by_hand():
    sources = [
        _Held("a", e=torch.tensor([[1.0, 1.0], [2.0, 2.0]])),
        _Held("b", e=torch.tensor([[10.0, 0.0], [20.0, 0.0]])),
        _Held("c", e=torch.tensor([[5.0, 7.0]])),
    ]
    # Rows of the result: a0 (in all), b1 (in b, c), a1 (in a), nobody's.
    _, wrapped = _wrap(sources, [[0, -1, 1, -1], [0, 1, -1, -1], [-1, 0, -1, -1]])
    assert wrapped[0].read("e").tolist() == [[1, 1], [12.5, 3.5], [2, 2], [0, 0]]
    assert wrapped[1].read("e").tolist() == [[10, 0], [20, 0], [2, 2], [0, 0]]
    assert wrapped[2].read("e").tolist() == [[5.5, 0.5], [5, 7], [2, 2], [0, 0]]
    _, wrapped = _wrap(sources, [[0, -1, 1, -1], [0, 1, -1, -1], [-1, 0, -1, -1]], taken=[1, 2, -1, -1])
    for source in wrapped:
        assert source.read("e")[:2].tolist() == [[10, 0], [5, 7]]


def test_rows_are_lent_to_those_who_lack_them_and_padding_is_the_mean():
    sources = [
        _Held("a", e=torch.tensor([[1.0], [2.0]])),
        _Held("b", e=torch.tensor([[10.0]])),
        _Held("c", e=torch.ones(1, 1)),
    ]
    rows = torch.tensor([[0, 1, -1], [0, -1, -1], [-1, -1, -1]])
    none = torch.full((3,), -1)
    table = RowTable(sources, [{"e": 0}] * 3, rows, none, torch.tensor([1, -1, -1]), padding=2)
    wrapped = [AlignedSource(source, number, table, {}) for number, source in enumerate(sources)]
    assert [source.read("e").flatten().tolist() for source in wrapped] == [[1, 2, 1.5], [10, 2, 6], [10, 2, 6]]


def test_any_dimension_may_follow_the_vocabulary():
    tensors = [torch.arange(12.0).view(2, 6), torch.arange(12.0).view(2, 6).neg()]
    rows = [[5, 0, -1], [1, -1, 2]]
    _, wrapped = _wrap([_Held("a", e=tensors[0]), _Held("b", e=tensors[1])], rows, axis=1)
    _, turned = _wrap([_Held("a", e=tensors[0].T), _Held("b", e=tensors[1].T)], rows)
    for one, other in zip(wrapped, turned, strict=True):
        assert one.infos["e"].shape == (2, 3)
        assert torch.equal(one.read("e"), other.read("e").T)


def test_types_may_differ_and_each_source_keeps_its_own():
    sources = [_Held("a", e=torch.tensor([[1.0]], dtype=torch.bfloat16)), _Held("b", e=torch.tensor([[1.00390625]]))]
    _, wrapped = _wrap(sources, [[0, -1], [-1, 0]])
    assert wrapped[0].read("e").dtype == torch.bfloat16
    assert wrapped[1].read("e").tolist() == [[1.0], [1.00390625]]


def test_averages_are_made_once_for_all_readers_and_then_forgotten():
    sources = [_Held(label, e=torch.randn(40000, 2)) for label in "abc"]  # more than one block of rows
    rows = [torch.randperm(40000).where(torch.rand(40000) > 0.5, -1).tolist() for _ in sources]
    table, wrapped = _wrap(sources, rows)
    found = [None] * 3

    def read(number):
        found[number] = wrapped[number].read("e")

    threads = [threading.Thread(target=read, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [source.num_reads for source in sources] == [2, 2, 2]  # its own rows, and once for the average
    assert not table._shared
    index = torch.tensor(rows)
    has = (index >= 0).unsqueeze(2)
    values = torch.stack([source.tensors["e"][index[number].clamp_min(0)] for number, source in enumerate(sources)])
    mean = (values * has).sum(0) / has.sum(0).clamp_min(1)
    for number in range(3):
        # Sums of three fp32 numbers in one order or another.
        torch.testing.assert_close(found[number], values[number].where(has[number], mean), rtol=1e-6, atol=1e-6)
