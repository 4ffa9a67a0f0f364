"""score = |w| * ||X||, compared within each row."""

import pytest
import torch
from torch import nn

from hf_compress._errors import CompressionError
from hf_compress.pruning.allocations.global_ import Global
from hf_compress.pruning.configuration import Pruning
from hf_compress.pruning.criteria.wanda import Wanda
from hf_compress.pruning.masks import Masks
from hf_compress.pruning.patterns.blocks import Blocks
from hf_compress.pruning.patterns.n_m import NM
from hf_compress.pruning.patterns.rows import WholeRows
from hf_compress.pruning.prune import prune
from hf_compress.pruning.schedules.constant import Constant


def by_rows(score, num_pruned):
    """The paper's procedure, row by row: sort and drop the first."""
    keep = torch.ones_like(score, dtype=torch.bool)
    for row, kept in zip(score.tolist(), keep, strict=True):
        for index in sorted(range(len(row)), key=lambda place: row[place])[:num_pruned]:
            kept[index] = False
    return keep


def layer(outputs=6, inputs=8, seed=0):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(inputs, outputs))
    with torch.no_grad():
        model[0].weight[0] *= 100  # over the whole layer this row would lose nothing
    return model, torch.rand(inputs) + 0.1


def pruned(model, norm, **changes):
    job = Pruning(**{"criterion": Wanda(), "schedule": Constant(final=0.5), **changes})
    return prune(model, job, {"input_norm": {"0.weight": norm}})["0"]


def test_the_papers_example_by_hand():
    weight = torch.tensor([[4.0, 0.0, 1.0, -1.0], [3.0, -2.0, -1.0, -3.0], [-3.0, 1.0, 0.0, 2.0]])
    norm = torch.tensor([1.0, 2.0, 8.0, 3.0])
    score = Wanda().score(weight, {"input_norm": norm})
    assert score.tolist() == [[4.0, 0.0, 8.0, 3.0], [3.0, 4.0, 8.0, 9.0], [3.0, 2.0, 0.0, 6.0]]


def test_every_row_loses_its_own_lowest():
    model, norm = layer()
    score = model[0].weight.detach().abs() * norm
    assert torch.equal(pruned(model, norm), by_rows(score, 4))


def test_a_share_that_is_no_whole_number_per_row_comes_out_over_the_layer():
    model, norm = layer()
    keep = pruned(model, norm, schedule=Constant(final=0.2))
    counts = (~keep).sum(1).tolist()
    assert sum(counts) == round(0.2 * 48) and set(counts) == {1, 2}


def test_two_of_four_are_the_best_pairs_of_each_group():
    model, norm = layer()
    groups = (model[0].weight.detach().abs() * norm).view(6, 2, 4)
    keep = pruned(model, norm, pattern=NM(n=2, m=4)).view(6, 2, 4)
    assert torch.equal(keep, groups >= groups.sort(-1).values[..., 2:3])


def test_blocks_within_a_row_lose_the_same_number_in_every_row_and_whole_rows_are_compared_by_their_scores():
    model, norm = layer()
    keep = pruned(model, norm, pattern=Blocks(rows=1, columns=2))
    assert (~keep).sum(1).tolist() == [4] * 6
    model, norm = layer()
    means = (model[0].weight.detach().abs() * norm).mean(1)
    assert torch.equal(pruned(model, norm, pattern=WholeRows()).all(1), means >= means.sort().values[3])


def test_masks_grow_row_by_row_whatever_the_weights_do_meanwhile():
    model, norm = layer(outputs=5, inputs=10)
    masks = Masks(model, Pruning(criterion=Wanda(), schedule=Constant(final=0.7)))
    before = torch.ones(5, 10, dtype=torch.bool)
    for move, sparsity in enumerate((0.2, 0.5, 0.7)):
        masks.update(sparsity, {"0": {"input_norm": norm}})
        masks.apply()
        keep = masks.keep["0"]
        assert (~keep).sum(1).tolist() == [round(10 * sparsity)] * 5 and not (keep & ~before).any()
        before = keep
        with torch.no_grad():
            model[0].weight[keep] += torch.randn(int(keep.sum()), generator=torch.Generator().manual_seed(move))


def test_one_threshold_for_all_layers_is_refused():
    with pytest.raises(
        CompressionError, match="wanda compares weights within each row, and the allocation global those of"
    ):
        Pruning(criterion=Wanda(), allocation=Global())
