"""The k largest numbers, against a stable sort."""

import numpy
import pytest
import torch

from hf_compress import _selection
from hf_compress._selection import Cut, find_cuts, largest
from hf_compress._sharding.across import Across
from hf_compress._threshold import Search


def by_stable_sort(numbers, k):
    """The definition: sort by size, of equal numbers the lower index first, and keep the front."""
    order = numpy.lexsort((numpy.arange(numbers.numel()), -numbers.double().numpy()))
    keep = torch.zeros(numbers.numel(), dtype=torch.bool)
    keep[torch.from_numpy(order[:k].copy())] = True
    return keep


@pytest.fixture(params=[16, 2**16], ids=["bracket", "direct"])
def sample(request, monkeypatch):
    monkeypatch.setattr(_selection, "SAMPLE", request.param)


def series(kind, size=1000):
    numbers = torch.randn(size, generator=torch.Generator().manual_seed(0))
    if kind == "few values":
        return numbers.round()
    if kind == "infinite":
        numbers[::7], numbers[::5] = torch.inf, -torch.inf
    if kind == "of both zeros":
        numbers[::2], numbers[1::4] = 0.0, -0.0
    if kind == "double":
        return numbers.double() + 1e-12 * torch.arange(size)
    return numbers


@pytest.mark.parametrize("kind", ["smooth", "few values", "infinite", "of both zeros", "double"])
@pytest.mark.parametrize("k", [0, 1, 2, 57, 499, 999, 1000])
def test_what_is_kept_is_what_a_stable_sort_puts_first(kind, k, sample):
    numbers = series(kind)
    cut = largest(lambda: numbers.split(77), k, numbers.numel())
    keep = torch.cat([cut.mask(part, 77 * place) for place, part in enumerate(numbers.split(77))])
    assert torch.equal(keep, by_stable_sort(numbers, k)) and torch.equal(cut.mask(numbers), keep)


@pytest.mark.parametrize("kind", ["smooth", "few values", "infinite", "of both zeros", "double"])
@pytest.mark.parametrize("k", [1, 57, 499, 999])
def test_a_sample_that_misleads_costs_passes_and_neither_memory_nor_the_result(kind, k, monkeypatch):
    """The sample sees what lies elsewhere, and next to no number may be held: bits must bracket the threshold."""
    monkeypatch.setattr(_selection, "SAMPLE", 16)
    numbers = series(kind)
    held = []
    add = Search.add

    def watched(search, part):
        search.most = 8
        add(search, part)
        held.append(sum(inside.size for inside in search.inside))

    monkeypatch.setattr(Search, "add", watched)
    chunks = lambda: [lambda _, part=part: part for part in numbers.split(50)]  # noqa: E731
    [[cut]] = find_cuts(chunks, [[k]], numbers.numel(), lambda _, stride: torch.linspace(-1e-3, 1e-3, 20).to(numbers.dtype))
    assert torch.equal(cut.mask(numbers), by_stable_sort(numbers, k))
    assert max(held) <= 8 and len(held) <= 20 * 7


def test_every_magnitude_of_a_float_is_told_apart():
    numbers = torch.tensor([1e-45, 3e-45, 1e-20, 1.0, 1.0000001, 3e38])
    found = [largest(lambda: [numbers], k, 6).threshold for k in range(1, 7)]
    assert found[:5] == numbers.flip(0)[:5].tolist() and found[5] <= numbers[0]


def test_numbers_in_several_processes_have_one_threshold(sample):
    """Rows of two matrices lie in three processes, one of which holds none of the second: the same mask as of the whole."""
    matrices = [series("few values", 120).view(12, 10), series("few values", 80).view(8, 10)]
    rows = [[slice(0, 5), slice(5, 9), slice(9, 12)], [slice(0, 4), slice(4, 4), slice(4, 8)]]
    whole = torch.cat([matrix.flatten() for matrix in matrices])
    parts = [[matrix[of[process]].flatten() for matrix, of in zip(matrices, rows, strict=True)] for process in range(3)]
    for k in (1, 50, 99, 131, 199):
        expected = by_stable_sort(whole, k).split([120, 80])
        masks = run_together(parts, k)
        for number, (matrix, of) in enumerate(zip(matrices, rows, strict=True)):
            found = torch.cat([masks[process][number].view(-1, 10) for process in range(3)])
            assert torch.equal(found, expected[number].view(matrix.shape)), (k, of)


def run_together(parts, k):
    """Each process in a thread; what they tell each other goes through a barrier."""
    import threading

    barrier, told, masks = threading.Barrier(len(parts)), [None] * len(parts), [None] * len(parts)

    class InThreads(Across):
        def __init__(self, place):
            self._place = place

        @property
        def place(self):
            return self._place

        def _all(self, mine):
            told[self._place] = mine
            barrier.wait()
            found = list(told)
            barrier.wait()
            return found

        def total(self, count):
            return sum(self._all(count))

        def table(self, counts):
            return self._all(list(counts))

        def joined(self, numbers):
            return numpy.concatenate(self._all(numbers))

    def work(place):
        mine = parts[place]
        cut = largest(lambda: mine, k, sum(part.numel() for part in mine), InThreads(place))
        offsets = [0, mine[0].numel()]
        masks[place] = [cut.mask(part, offset) for part, offset in zip(mine, offsets, strict=True)]

    threads = [threading.Thread(target=work, args=(place,)) for place in range(len(parts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    return masks


def test_several_series_are_searched_in_one_pass(monkeypatch):
    monkeypatch.setattr(_selection, "SAMPLE", 64)
    numbers, passes = [series("smooth"), series("few values")], []

    def chunks():
        passes.append(1)
        for start in range(0, 1000, 100):
            yield lambda which, start=start: numbers[which][start : start + 100].clone()

    cuts = find_cuts(chunks, [[10, 300], [300]], 1000, lambda which, stride: numbers[which][::stride])
    assert torch.equal(cuts[0][1].mask(numbers[0]), by_stable_sort(numbers[0], 300))
    assert torch.equal(cuts[1][0].mask(numbers[1]), by_stable_sort(numbers[1], 300))
    assert isinstance(cuts[0][0], Cut) and len(passes) <= 4
