"""A gate above the members."""

import pytest
import torch

from hf_compress import CompressionError, GatingFusion, MeanLogits, MeanProbabilities, fit_gate
from hf_compress.ensembling.fusion import Said
from tests.ensembling.made import members


def test_it_is_fit_gate_for_the_combiner_that_there_is():
    logits, labels = members()
    said = Said(logits=logits, labels=labels, names=tuple("xyz"), combiner=MeanLogits(), seed=3)
    found = GatingFusion(steps=20).fit(said)
    expected = fit_gate(logits, labels, MeanLogits(), steps=20, seed=3)
    assert found.facts["nll_held_out"] == expected.nll_held_out and found.facts["steps"] == expected.steps
    answer = GatingFusion().answer(found, logits, MeanLogits(), None)
    with torch.no_grad():
        torch.testing.assert_close(answer, MeanLogits().combine(logits, expected.gate(logits)))
        other = GatingFusion().answer(found, logits, MeanProbabilities(), None)
    assert not torch.allclose(answer, other)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"held_out": 1.0}, "held_out=1.0 must be a share between 0 and 1"),
        ({"hidden": 0}, "hidden=0, steps=1000 and patience=50 must be 1 or more"),
        ({"learning_rate": 0.0}, "learning_rate=0.0 must be above 0"),
    ],
)
def test_refused(wrong, sentence):
    with pytest.raises(CompressionError, match=sentence):
        GatingFusion(**wrong)
