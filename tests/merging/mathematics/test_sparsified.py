import pytest
import torch

from hf_compress._errors import CompressionError
from hf_compress.merging.mathematics.sparsified import num_kept, restoring_factor
from hf_compress.merging.methods.dare_linear import DareLinear
from hf_compress.merging.methods.ties import Ties
from tests.merging.merged import merged, models, operands_of


def test_the_paper_rounds_and_the_libraries_cut_off():
    assert [num_kept(0.37, 10, compat) for compat in ("paper", "mergekit", "peft")] == [4, 3, 3]
    assert [num_kept(0.01, 10, compat) for compat in ("paper", "mergekit", "peft")] == [0, 1, 0]
    for compat in ("paper", "mergekit", "peft"):
        assert num_kept(0.0, 10, compat) == 0 and num_kept(1.0, 10, compat) == 10


def test_a_norm_that_vanished_is_not_restored():
    assert restoring_factor(3.0, 1.5) == 2.0
    assert restoring_factor(3.0, 0.0) == restoring_factor(0.0, 0.0) == 1.0


def test_rescale_restores_the_l1_norm_of_each_task_vector():
    [member], base = models((40, 30), num_members=1)
    result = merged(Ties(density=0.3, rescale=True), operands_of([member], base)) - base
    assert int((result != 0).sum()) == 360
    # 1e-5: rounding of 1200 differences of numbers near 1.
    torch.testing.assert_close(result.norm(p=1), (member - base).norm(p=1), rtol=1e-5, atol=0)


def test_scale_multiplies_the_merged_task_vector():
    members, base = models((50,))
    one, half = (merged(Ties(scale=scale), operands_of(members, base)) - base for scale in (1.0, 0.5))
    torch.testing.assert_close(half, one / 2, rtol=0, atol=5e-7)  # one rounding of sums near 2


@pytest.mark.parametrize("field", [{"density": 1.2}, {"density": float("nan")}, {"scale": float("inf")}])
def test_values_without_a_meaning_are_refused(field):
    with pytest.raises(CompressionError, match=next(iter(field))):
        Ties(**field)


def test_a_members_density_is_refused_by_name():
    members, base = models((4,))
    with pytest.raises(CompressionError, match=r"layer.weight: density=-0.1 of bob lies outside \[0, 1\]"):
        Ties().survey(operands_of(members, base, density=(0.2, -0.1, 0.2)))


def test_weights_that_cancel_are_refused_where_their_sum_divides():
    with pytest.raises(CompressionError, match=r"head: the weights \[1.0, -1.0\] sum to 0"):
        DareLinear(normalize=True).check_weights((1.0, -1.0), "head")
    DareLinear().check_weights((1.0, -1.0), "head")
    Ties().check_weights((1.0, -1.0), "head")
