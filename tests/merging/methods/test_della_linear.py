import pytest
import torch

from hf_compress._errors import CompressionError
from hf_compress.merging.methods import della_linear as della_module
from hf_compress.merging.methods.della_linear import DellaLinear, keep_probabilities
from tests.merging.merged import merged, models, operands_of


def test_probabilities_rise_with_the_rank_in_a_row_by_hand():
    rows = torch.tensor([[0.1, -5.0, 0.3], [2.0, -2.0, 2.0]])
    expected = torch.tensor([[0.3, 0.7, 0.5], [0.3, 0.5, 0.7]])  # ties: further left is smaller
    torch.testing.assert_close(keep_probabilities(rows, 0.5, 0.2), expected)
    assert keep_probabilities(torch.tensor([[3.0], [4.0]]), 0.5, 0.2).tolist() == [[0.5], [0.5]]


def slow_probabilities(row, density, epsilon):
    order = sorted(range(len(row)), key=lambda i: (abs(row[i]), i))
    return [density - epsilon + 2 * epsilon * order.index(i) / (len(row) - 1) for i in range(len(row))]


def test_it_equals_the_plain_formula_under_the_same_random_numbers(monkeypatch):
    monkeypatch.setattr(della_module, "CHUNK", 50)  # several blocks of rows
    members, base = models((11, 13))
    operands = operands_of(members, base, weight=(0.5, 1.0, 0.2), density=(0.3, 0.5, 0.8), epsilon=(0.1, 0.4, 0.2))
    expected = base.clone()
    for i, (weight, density, epsilon) in enumerate([(0.5, 0.3, 0.1), (1.0, 0.5, 0.4), (0.2, 0.8, 0.2)]):
        vector = members[i] - base
        keep = torch.tensor([slow_probabilities(row, density, epsilon) for row in vector.tolist()])
        drawn = torch.cat(list(blocks(operands.generator(i), 11, 13, 3)))
        expected += weight * vector * (drawn < keep) / keep
    torch.testing.assert_close(merged(DellaLinear(), operands), expected, rtol=0, atol=2e-6)  # roundings of numbers near 5


def blocks(generator, num_rows, num_columns, rows_per_block):
    for start in range(0, num_rows, rows_per_block):
        yield torch.rand(min(rows_per_block, num_rows - start), num_columns, generator=generator)


def test_the_expected_value_is_the_task_vector_and_large_changes_stay_more_often():
    vector = torch.arange(1.0, 101.0).repeat(4000, 1)
    result = merged(DellaLinear(density=0.4, epsilon=0.3), operands_of([vector], torch.zeros_like(vector)))
    stays = (result != 0).float().mean(dim=0)
    # Five standard errors: sqrt(0.25 / 4000) = 0.008 per column, and 0.0008 over all.
    assert stays[0] < 0.14 and stays[-1] > 0.66 and abs(stays.mean().item() - 0.4) < 0.004
    # The smallest of a column's relative errors is sqrt((1 - k) / k / 4000), 0.047 at k = 0.1.
    torch.testing.assert_close(result.mean(dim=0), vector[0], rtol=0.24, atol=0)


def test_a_vector_is_one_row_and_a_scalar_has_the_density():
    [member], base = models((2000,), num_members=1)
    method = DellaLinear(density=0.5, epsilon=0.45, rescale=False)
    kept = merged(method, operands_of([member], base)) - base != 0
    order = (member - base).abs().argsort()
    assert kept[order[:500]].float().mean() < 0.35 and kept[order[-500:]].float().mean() > 0.65
    scalars = [merged(method, operands_of([torch.tensor(2.0)], torch.tensor(1.0), seed=seed)) for seed in range(40)]
    assert {value.item() for value in scalars} == {1.0, 2.0}


def test_compat_mergekit_restores_the_l1_norm_and_ranks_kernels_along_the_second_dimension():
    # Ranked row by row, what lies at the last place of a kernel would stay, whatever its channel.
    vector = torch.arange(1.0, 11.0).reshape(1, 10, 1, 1) + 100 * torch.arange(4.0).reshape(2, 2).expand(200, 10, 2, 2)
    operands = operands_of([vector], torch.zeros_like(vector))
    result = merged(DellaLinear(density=0.5, epsilon=0.45, compat="mergekit"), operands)
    torch.testing.assert_close(result.abs().sum(), vector.sum(), rtol=1e-5, atol=0)  # a long fp32 sum
    stays = (result != 0).float().mean(dim=(0, 2, 3))
    assert stays[0] < 0.12 and stays[-1] > 0.88


def test_probabilities_that_leave_zero_to_one_are_refused():
    with pytest.raises(CompressionError, match=r"density=0.9 with epsilon=0.15 .* set epsilon below 0.1"):
        DellaLinear(density=0.9)
    members, base = models((4, 4))
    with pytest.raises(CompressionError, match=r"layer.weight: ada: density=0.1 with epsilon=0.15"):
        merged(DellaLinear(), operands_of(members, base, density=[0.1] * 3))


def test_compat_peft_is_refused():
    with pytest.raises(CompressionError, match=r"peft has no della_linear"):
        DellaLinear(compat="peft")
