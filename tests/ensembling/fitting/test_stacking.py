"""The stacking classifier is the minimum of what it says it minimises."""

import pytest
import torch

from hf_compress._errors import CompressionError
from hf_compress.ensembling.fitting.stacking import fit_stacking
from hf_compress.ensembling.labelled_rows import mean_nll
from hf_compress.ensembling.modelling.features import member_features
from tests.ensembling.made import members


def slopes(stacking, logits, labels, strength):
    """Of mean nll + strength / 2 |W|^2 at the result, by autograd."""
    weight, bias = stacking.weight.clone().requires_grad_(True), stacking.bias.clone().requires_grad_(True)
    x = member_features(logits.double())
    loss = torch.nn.functional.cross_entropy(x @ weight.T + bias, labels) + strength / 2 * (weight**2).sum()
    return torch.autograd.grad(loss, [weight, bias])


@pytest.mark.parametrize("num_classes", [2, 3, 4])
@pytest.mark.parametrize("strength", [0.1, 0.01])
def test_nothing_near_it_is_better(num_classes, strength):
    logits, labels = members(num_classes=num_classes)
    found = fit_stacking(logits, labels, strength=strength)
    assert found.weight.shape == (num_classes, 3 * num_classes) and found.bias.shape == (num_classes,)
    for slope in slopes(found, logits, labels, strength):
        torch.testing.assert_close(slope, torch.zeros_like(slope), rtol=0, atol=1e-5)  # convex: it is the minimum


def test_it_learns_that_a_member_confuses_two_classes():
    logits, labels = members(num_members=1, num_rows=400, skill=(4.0,), sharpness=(1.0,))
    logits = logits[..., [1, 0, 2, 3]]
    found = fit_stacking(logits, labels)
    assert (logits[0].argmax(-1) == labels).double().mean() < 0.6
    assert (found.log_probabilities(logits).argmax(-1) == labels).double().mean() > 0.95


def test_it_answers_rows_of_any_shape_with_log_probabilities():
    logits, labels = members()
    found = fit_stacking(logits, labels)
    rows = found.log_probabilities(logits)
    assert rows.dtype is torch.float32
    torch.testing.assert_close(rows.exp().sum(-1), torch.ones(200))
    torch.testing.assert_close(found.log_probabilities(logits.reshape(3, 20, 10, 4)), rows.reshape(20, 10, 4))
    assert found.nll == pytest.approx(float(mean_nll(rows, labels)), rel=1e-5) and found.nll_held_out is None


def test_folds_measure_on_rows_that_the_classifier_did_not_see():
    logits, labels = members()
    folds = torch.arange(200) % 2
    found = fit_stacking(logits, labels, folds=folds)
    halves = [fit_stacking(logits[:, folds != fold], labels[folds != fold]) for fold in (0, 1)]
    by_hand = [
        float(mean_nll(half.log_probabilities(logits.double()[:, folds == fold]), labels[folds == fold]))
        for fold, half in enumerate(halves)
    ]
    assert found.nll_held_out == pytest.approx(sum(by_hand) / 2)
    assert found.nll_held_out > found.nll
    right = [
        (half.log_probabilities(logits[:, folds == fold]).argmax(-1) == labels[folds == fold]).sum()
        for fold, half in enumerate(halves)
    ]
    assert found.accuracy_held_out == pytest.approx(float(sum(right)) / 200)
    torch.testing.assert_close(found.weight, fit_stacking(logits, labels).weight)


def test_too_few_iterations_are_said(caplog):
    fit_stacking(*members(), max_iterations=2)
    assert "2 iterations were too few to fit the stacking classifier on the rows" in caplog.text


def test_what_nothing_can_be_learned_from_is_refused():
    logits, labels = members()
    with pytest.raises(CompressionError, match="strength=0 must be above 0"):
        fit_stacking(logits, labels, strength=0)
    with pytest.raises(CompressionError, match="the rows have no example of class 3"):
        fit_stacking(logits, labels % 3)
    with pytest.raises(CompressionError, match=r"folds of shape \(3,\) for 200 rows"):
        fit_stacking(logits, labels, folds=torch.arange(3))
    with pytest.raises(CompressionError, match="names a single fold"):
        fit_stacking(logits, labels, folds=torch.zeros(200))
    with pytest.raises(CompressionError, match="the rows outside of fold 0 have no example of class 0"):
        fit_stacking(logits, labels, folds=labels)
