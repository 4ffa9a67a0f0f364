"""F * w^2 / 2."""

import pytest
import torch

from hf_compress._errors import CompressionError
from hf_compress.pruning.compute import compute_masks
from hf_compress.pruning.configuration import Pruning
from hf_compress.pruning.criteria.fisher import FisherSaliency
from hf_compress.pruning.prune import prune
from hf_compress.pruning.schedules.constant import Constant
from hf_compress.pruning.statistics import statistics_for
from tests.pruning.criteria.logits import tiny


def by_hand(model, inputs, labels):
    """The Hessian's diagonal of each example's cross-entropy, (N, O, I): p (1 - p) x^2, which no label enters."""
    weight = model.layer.weight.detach()
    p = (inputs @ weight.T).softmax(1)
    return (p * (1 - p))[:, :, None] * inputs.square()[:, None, :]


def test_the_score_is_that_of_the_hessians_diagonal_by_hand():
    model, inputs, labels = tiny()
    job = Pruning(criterion=FisherSaliency(), schedule=Constant(final=0.5))
    modules = {"layer": model.layer}
    stats = statistics_for(model, modules, job, [{"inputs": inputs, "labels": labels}])
    weight, hessians = model.layer.weight.detach(), by_hand(model, inputs, labels)
    expected = weight.square() * hessians.mean(0) / 2
    torch.testing.assert_close(FisherSaliency().score(weight, stats["layer"]), expected)
    keep = compute_masks(modules, job, 0.5, stats)["layer"]
    assert torch.equal(keep, expected >= expected.flatten().sort().values[2])


def test_without_examples_it_is_refused_before_anything_is_pruned():
    model, _, _ = tiny()
    with pytest.raises(CompressionError, match="criterion 'fisher' needs fisher, measured on examples; give prune"):
        prune(model, Pruning(criterion=FisherSaliency(), schedule=Constant(final=0.5)))
    assert (model.layer.weight != 0).all()
