"""|w * g| of all examples together."""

import pytest
import torch
from torch import nn

from hf_compress._errors import CompressionError
from hf_compress.pruning.compute import compute_masks
from hf_compress.pruning.configuration import Pruning
from hf_compress.pruning.criteria.snip import SNIP
from hf_compress.pruning.prune import prune
from hf_compress.pruning.schedules.constant import Constant
from hf_compress.pruning.statistics import statistics_for
from tests.pruning.criteria.logits import gradients_by_hand, tiny


def test_the_score_is_that_of_gradients_gradients_by_hand():
    model, inputs, labels = tiny()
    job = Pruning(criterion=SNIP(), schedule=Constant(final=0.5))
    modules = {"layer": model.layer}
    stats = statistics_for(model, modules, job, [{"inputs": inputs, "labels": labels}])
    weight, gradients = model.layer.weight.detach(), gradients_by_hand(model, inputs, labels)
    expected = (weight * gradients.mean(0)).abs()
    torch.testing.assert_close(SNIP().score(weight, stats["layer"]), expected)
    keep = compute_masks(modules, job, 0.5, stats)["layer"]
    assert torch.equal(keep, expected >= expected.flatten().sort().values[2])


def test_it_is_the_derivative_with_respect_to_the_mask():
    """The definition: c multiplies the weights, at c = 1."""
    model, inputs, labels = tiny()
    weight, mask = model.layer.weight.detach(), torch.ones(2, 2, requires_grad=True)
    nn.functional.cross_entropy(inputs @ (mask * weight).T, labels).backward()
    modules = {"layer": model.layer}
    stats = statistics_for(model, modules, Pruning(criterion=SNIP()), [{"inputs": inputs, "labels": labels}])
    torch.testing.assert_close(SNIP().score(weight, stats["layer"]), mask.grad.abs())


def test_without_examples_it_is_refused_before_anything_is_pruned():
    model, _, _ = tiny()
    with pytest.raises(CompressionError, match="criterion 'snip' needs gradient, measured on examples; give prune"):
        prune(model, Pruning(criterion=SNIP(), schedule=Constant(final=0.5)))
    assert (model.layer.weight != 0).all()
