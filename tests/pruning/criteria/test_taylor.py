"""|w * g| of each example."""

import pytest
import torch

from hf_compress._errors import CompressionError
from hf_compress.pruning.compute import compute_masks
from hf_compress.pruning.configuration import Pruning
from hf_compress.pruning.criteria.taylor import Taylor
from hf_compress.pruning.prune import prune
from hf_compress.pruning.schedules.constant import Constant
from hf_compress.pruning.statistics import statistics_for
from tests.pruning.criteria.logits import gradients_by_hand, tiny


def test_the_score_is_that_of_gradients_gradients_by_hand():
    model, inputs, labels = tiny()
    job = Pruning(criterion=Taylor(), schedule=Constant(final=0.5))
    modules = {"layer": model.layer}
    stats = statistics_for(model, modules, job, [{"inputs": inputs, "labels": labels}])
    weight, gradients = model.layer.weight.detach(), gradients_by_hand(model, inputs, labels)
    expected = (weight * gradients).abs().mean(0)
    torch.testing.assert_close(Taylor().score(weight, stats["layer"]), expected)
    keep = compute_masks(modules, job, 0.5, stats)["layer"]
    assert torch.equal(keep, expected >= expected.flatten().sort().values[2])


def test_examples_that_pull_in_opposite_directions_do_not_cancel():
    gradients = torch.tensor([[[1.0]], [[-1.0]]])
    assert Taylor().score(torch.tensor([[3.0]]), {"gradient_size": gradients.abs().mean(0)}).item() == 3.0


def test_without_examples_it_is_refused_before_anything_is_pruned():
    model, _, _ = tiny()
    with pytest.raises(CompressionError, match="criterion 'taylor' needs gradient_size, measured on examples; give prune"):
        prune(model, Pruning(criterion=Taylor(), schedule=Constant(final=0.5)))
    assert (model.layer.weight != 0).all()
