import dataclasses

import numpy
import pytest
import torch

from hf_compress import _selection as threshold_module
from hf_compress._selection import Cut
from hf_compress._threshold import Search
from hf_compress.merging import operands as operands_module
from hf_compress.merging.mathematics.cuts import find_cuts
from tests.merging.merged import operands_of

SIZE = 5000


def magnitudes_with(kind):
    generator = torch.Generator().manual_seed(3)
    values = torch.randn(SIZE, generator=generator)
    if kind == "few values":
        return (values * 2).round() / 2
    if kind == "all equal":
        return torch.full((SIZE,), -0.25)
    if kind == "mostly zero":
        return values * (torch.rand(SIZE, generator=generator) < 0.05)
    if kind == "tiny":
        return values * 1e-41  # below the smallest normal number
    if kind == "the sample sees only large ones":
        values[:: SIZE // 64 | 1] += 100
    if kind == "the sample sees only small ones":
        values[:: SIZE // 64 | 1] *= 1e-6
    return values


def largest(vector, k):
    """Slow and plain: sort by magnitude, then by index."""
    order = numpy.lexsort((numpy.arange(vector.numel()), -vector.abs().numpy()))
    keep = torch.zeros(vector.numel())
    keep[torch.from_numpy(order[:k].copy())] = 1
    return vector * keep


@pytest.fixture(params=[64, 2**16], ids=["bracket", "direct"])
def small_parts(request, monkeypatch):
    monkeypatch.setattr(operands_module, "CHUNK", 700)
    monkeypatch.setattr(threshold_module, "SAMPLE", request.param)


KINDS = ["smooth", "few values", "all equal", "mostly zero", "tiny"]
KINDS += ["the sample sees only large ones", "the sample sees only small ones"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", [0, 1, 2, 699, 1000, 1001, 2500, 4990, SIZE - 1, SIZE])
def test_a_cut_keeps_what_a_full_sort_keeps(kind, k, small_parts):
    vector = magnitudes_with(kind)
    operands = operands_of([vector], torch.zeros(SIZE))
    [[cut]] = find_cuts(operands, [[k]], lambda part, member: part.delta(member))
    parts = [cut.keep(chunk.delta(0), chunk.offset) for chunk in operands.chunks()]
    assert torch.equal(torch.cat(parts), largest(vector, k))
    assert torch.equal(cut.keep(vector, 0), largest(vector, k))


def test_each_member_has_its_own_counts(small_parts):
    vectors = [magnitudes_with("smooth"), magnitudes_with("few values")]
    operands = operands_of(vectors, torch.zeros(SIZE))
    cuts = find_cuts(operands, [[10, 2000], [3000]], lambda part, member: part.delta(member))
    assert [len(of_member) for of_member in cuts] == [2, 1]
    assert torch.equal(cuts[0][0].keep(vectors[0], 0), largest(vectors[0], 10))
    assert torch.equal(cuts[0][1].keep(vectors[0], 0), largest(vectors[0], 2000))
    assert torch.equal(cuts[1][0].keep(vectors[1], 0), largest(vectors[1], 3000))


def test_the_cut_does_not_depend_on_chunks_samples_or_threads(monkeypatch):
    vector = (torch.randn(2**19, generator=torch.Generator().manual_seed(0)) * 50).round()
    operands = operands_of([vector], torch.zeros_like(vector))
    found = set()
    before = torch.get_num_threads()
    try:
        for chunk, sample, threads in [(2**18, 2**16, 1), (2**18, 2**16, 2), (10**5, 2**10, 1), (2**20, 2**20, 2)]:
            monkeypatch.setattr(operands_module, "CHUNK", chunk)
            monkeypatch.setattr(threshold_module, "SAMPLE", sample)
            torch.set_num_threads(threads)
            found.add(find_cuts(operands, [[123456]], lambda part, member: part.delta(member))[0][0])
    finally:
        torch.set_num_threads(before)
    assert len(found) == 1


def test_only_a_small_share_is_collected(monkeypatch):
    collected = []
    finish = Search.finish
    monkeypatch.setattr(Search, "finish", lambda search: (collected.append(search.collected), finish(search))[1])
    for vector in (
        torch.randn(2**20, generator=torch.Generator().manual_seed(0)),
        torch.zeros(2**20),
        torch.arange(2**20) % 3.0,
    ):
        find_cuts(operands_of([vector], torch.zeros(2**20)), [[2**18]], lambda part, member: part.delta(member))
    # 4 standard errors of 26 thousand samples on both sides are 2.1 % of the elements.
    assert len(collected) == 3 and max(collected) < 0.03 * 2**20


def test_ties_are_cut_at_a_flat_index():
    vector = torch.tensor([2.0, -1.0, 1.0, 1.0, 0.5])
    [[cut]] = find_cuts(operands_of([vector], torch.zeros(5)), [[3]], lambda part, member: part.delta(member))
    assert cut == Cut(1.0, 2)
    assert cut.keep(vector, 0).tolist() == [2, -1, 1, 0, 0]
    assert cut.keep(vector[2:], 2).tolist() == [1, 0, 0]
    assert dataclasses.replace(cut, last=4).keep(vector, 0).tolist() == [2, -1, 1, 1, 0]
