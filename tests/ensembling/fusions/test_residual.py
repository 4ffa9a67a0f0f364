"""Step sizes of a sum."""

import pytest
import torch

from hf_compress import CompressionError, MeanProbabilities, ResidualFusion, fit_step_size
from hf_compress.ensembling.fusion import Said
from tests.ensembling.made import members


def said():
    logits, labels = members()
    return Said(logits=logits, labels=labels, names=tuple("xyz"), combiner=MeanProbabilities())


def test_steps_are_searched_member_by_member():
    rows = said()
    found = ResidualFusion().fit(rows)
    total = torch.zeros_like(rows.logits[0])
    for own, size, loss in zip(rows.logits, found.options["step_sizes"], found.facts["nll"], strict=True):
        step = fit_step_size(total, own, rows.labels)
        assert (size, loss) == (step.eta, step.loss) and step.loss <= step.loss_before
        total = total + size * own
    answer = ResidualFusion().answer(found, rows.logits, MeanProbabilities(), None)
    torch.testing.assert_close(answer, total.log_softmax(-1))
    assert found.learned == ("step sizes",)


def test_a_given_step_is_that_of_every_member():
    rows = said()
    fusion = ResidualFusion(step_size=0.5)
    found = fusion.fit(rows)
    assert found.options == {"step_sizes": [0.5] * 3} and found.learned == ()
    answer = fusion.answer(found, rows.logits, MeanProbabilities(), None)
    torch.testing.assert_close(answer, (0.5 * rows.logits.sum(0)).log_softmax(-1))


def test_a_step_that_goes_nowhere_is_refused():
    with pytest.raises(CompressionError, match="step_size=0.0 must be a number above 0, and at most 1e"):
        ResidualFusion(step_size=0.0)
    with pytest.raises(CompressionError, match="and at most 1e"):
        ResidualFusion(step_size=1e300)
