"""Gates: equal at first, better where a row says whom to listen to."""

import pytest
import torch

from hf_compress._errors import CompressionError
from hf_compress.ensembling.combiners.mean_logits import MeanLogits
from hf_compress.ensembling.combiners.mean_probabilities import MeanProbabilities
from hf_compress.ensembling.combiners.median import Median
from hf_compress.ensembling.fitting.gating import fit_gate
from hf_compress.ensembling.fitting.weights import fit_weights
from hf_compress.ensembling.labelled_rows import mean_nll
from hf_compress.ensembling.modelling.gate import Gate


def specialists(num_rows=300, seed=0):
    """Two members, each sure and right on its half of the classes, and unsure or wrong on the other."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(4, (num_rows,), generator=generator)
    logits = torch.randn(2, num_rows, 4, generator=generator)
    for member in (0, 1):
        own = labels // 2 == member
        logits[member, own] += 5 * torch.nn.functional.one_hot(labels[own], 4)
    return logits, labels


def test_a_new_gate_gives_equal_weights_that_fit_a_combiner():
    logits, _ = specialists()
    for hidden in (None, 8):
        weights = Gate(2, 4, hidden)(logits.reshape(2, 20, 15, 4))
        assert torch.equal(weights, torch.full((2, 20, 15), 0.5))
    assert MeanProbabilities().combine(logits, Gate(2, 4)(logits)).shape == (300, 4)


@pytest.mark.parametrize("hidden", [None, 16])
def test_it_listens_to_the_specialist_and_beats_weights_that_are_the_same_for_all_rows(hidden):
    logits, labels = specialists()
    found = fit_gate(logits, labels, hidden=hidden, steps=60, learning_rate=0.05)
    fresh, classes = specialists(seed=1)
    weights = found.gate(fresh)
    torch.testing.assert_close(weights.sum(0), torch.ones(300))
    right_one = weights.gather(0, (classes // 2).unsqueeze(0)).squeeze(0)
    assert right_one.mean() > 0.8
    fixed = torch.tensor(fit_weights(logits, labels).weights)
    gated = mean_nll(MeanProbabilities().combine(fresh, weights), classes)
    assert gated < mean_nll(MeanProbabilities().combine(fresh, fixed), classes) - 0.1
    assert found.nll_held_out < found.nll_held_out_fixed - 0.1 and found.num_held_out == 60 and found.steps > 0


def test_it_ends_where_the_held_out_rows_are_best():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 40, 4, generator=generator)
    labels = torch.randint(4, (40,), generator=generator)  # nothing to learn: more steps only learn the rows by heart
    found = fit_gate(logits, labels, hidden=32, learning_rate=0.1, patience=5)
    assert found.steps < 100 and found.nll_held_out <= found.nll_held_out_fixed
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))[:8]
    held_out = mean_nll(MeanProbabilities().combine(logits[:, order], found.gate(logits[:, order])), labels[order])
    assert found.nll_held_out == pytest.approx(held_out.item(), rel=1e-5)


def test_features_are_standardised_by_the_rows_of_training():
    logits, labels = specialists()
    gate = fit_gate(logits, labels, steps=1, seed=3).gate
    seen = torch.randperm(300, generator=torch.Generator().manual_seed(3))[60:]
    x = (gate.features(logits[:, seen]) - gate.mean) / gate.deviation
    assert x.shape == (240, 10)
    torch.testing.assert_close(x.mean(0), torch.zeros(10), rtol=0, atol=1e-5)
    torch.testing.assert_close(x.std(0, unbiased=False), torch.ones(10))


def test_a_seed_gives_the_same_gate_and_moves_no_global_random_state():
    logits, labels = specialists()
    before = torch.random.get_rng_state()
    first, second = (fit_gate(logits, labels, MeanLogits(), hidden=4, steps=20, seed=7).gate for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), before)
    for name, one in first.state_dict().items():
        assert torch.equal(one, second.state_dict()[name])
    other = fit_gate(logits, labels, MeanLogits(), hidden=4, steps=20, seed=8).gate
    assert not torch.equal(other.inner.weight, first.inner.weight)


def test_what_cannot_be_trained_on_is_refused():
    logits, labels = specialists()
    with pytest.raises(CompressionError, match="median moves in jumps"):
        fit_gate(logits, labels, Median())
    for share in (0.0, 1.0, 1e-6):
        with pytest.raises(CompressionError, match="held_out=.* of 300 rows leaves one side empty"):
            fit_gate(logits, labels, held_out=share)
    with pytest.raises(CompressionError, match="hidden=0 must be 1 or more"):
        fit_gate(logits, labels, hidden=0)
    with pytest.raises(CompressionError, match="steps=0 and patience=50"):
        fit_gate(logits, labels, steps=0)
    with pytest.raises(CompressionError, match="row 0 has label -100"):
        fit_gate(logits, torch.full((300,), -100))
