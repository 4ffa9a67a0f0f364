import math

import pytest
import torch

from hf_compress._errors import CompressionError
from hf_compress.merging.methods.arcee_fusion import ArceeFusion
from tests.merging.merged import merged as merged_by
from tests.merging.merged import operands_of
from tests.merging.methods.applied import random


def merged(method, member, base):
    return merged_by(method, operands_of([member], base))


def reference(member, base, fence=1.5):
    """The published steps, one number at a time, in Python's floats."""
    rows = [(m.tolist(), b.tolist()) for m, b in zip(member.double(), base.double(), strict=True)]
    scores = []
    for m, b in rows:
        p, q = ([math.exp(x) / sum(math.exp(y) for y in row) for x in row] for row in (m, b))
        divergence = sum(x * math.log(x / y) for x, y in zip(p, q, strict=True))
        scores += [abs(x - y) * divergence for x, y in zip(m, b, strict=True)]
    ordered = sorted(scores)
    first, median, third = (ordered[(len(ordered) - 1) * quarter // 4] for quarter in (1, 2, 3))
    taken = torch.tensor([score > median + fence * (third - first) for score in scores]).reshape(member.shape)
    return torch.where(taken, member, base)


def test_the_change_that_stands_out_is_taken_whole():
    base = [0.0, 0.0, 0.0, 0.0, 0.0]
    # one row, so one divergence; |change| has the quartiles 0.1, 0.2, 0.3: taken is what is above 0.2 + 1.5 * 0.2 = 0.5
    member = [0.1, 0.2, -0.3, 0.05, 0.6]
    result = merged(ArceeFusion(), torch.tensor([member]), base=torch.tensor([base]))
    torch.testing.assert_close(result, torch.tensor([[0.0, 0.0, 0.0, 0.0, 0.6]]), rtol=0, atol=0)


@pytest.mark.parametrize("fence", [0.0, 1.5, 4.0])
def test_it_is_what_the_published_steps_give(fence):
    base, member = random(30 * 45, seed=1).reshape(30, 45), random(30 * 45, seed=2).reshape(30, 45)
    member = base + 0.1 * member
    result = merged(ArceeFusion(fence=fence), member, base=base)
    assert torch.equal(result, reference(member, base, fence))
    moved = (result != base).float().mean()
    assert 0.05 < moved < 0.2 if fence == 1.5 else 0 < moved <= 0.5


def test_mergekit_rounds_the_divergence_to_fp32():
    base = random(30 * 45, seed=1).reshape(30, 45)
    member = base + 0.1 * random(30 * 45, seed=2).reshape(30, 45)
    assert torch.equal(*(merged(ArceeFusion(compat=compat), member, base=base) for compat in ("paper", "mergekit")))
    near = base + 1e-5 * random(30 * 45, seed=2).reshape(30, 45)
    paper, mergekit = (merged(ArceeFusion(compat=compat), near, base=base) for compat in ("paper", "mergekit"))
    assert torch.equal(paper, reference(near, base)) and not torch.equal(paper, mergekit)


def test_a_row_that_hardly_changed_keeps_the_base():
    base = random(64, seed=1).reshape(8, 8)
    member = base.clone()
    member[0] += random(8, seed=2)
    member[1:] += 1e-3
    result = merged(ArceeFusion(), member, base=base)
    assert torch.equal(result[1:], base[1:]) and torch.equal(result[0], member[0])


def test_equal_models_stay_and_vectors_convolutions_and_scalars_keep_their_shape():
    base = random(24, seed=1)
    assert torch.equal(merged(ArceeFusion(), base, base=base), base)
    for shape in ((24,), (2, 3, 2, 2), (4, 6)):
        member = random(24, seed=2).reshape(shape)
        assert merged(ArceeFusion(), member, base=base.reshape(shape)).shape == shape
    assert merged(ArceeFusion(), torch.tensor(2.0), base=torch.tensor(1.0)) == 1.0
    assert merged(ArceeFusion(), torch.zeros(0, 4), base=torch.zeros(0, 4)).shape == (0, 4)


def test_a_negative_fence_and_weights_are_refused():
    with pytest.raises(CompressionError, match=r"fence=-1 is negative"):
        ArceeFusion(fence=-1)
    with pytest.raises(CompressionError, match="set fence instead"):
        ArceeFusion().check_weights((0.5,), "w")
