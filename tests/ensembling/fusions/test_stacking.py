"""A classifier above the members."""

import pytest
import torch

from hf_compress import CompressionError, MeanProbabilities, StackingFusion, fit_stacking
from hf_compress.ensembling.fusion import Said
from tests.ensembling.made import members


def test_it_is_fit_stacking_measured_on_folds():
    logits, labels = members()
    said = Said(logits=logits, labels=labels, names=tuple("xyz"), combiner=MeanProbabilities())
    found = StackingFusion(folds=4).fit(said)
    expected = fit_stacking(logits, labels)
    torch.testing.assert_close(found.options["weight"], expected.weight)
    assert found.facts["nll"] == expected.nll < found.facts["nll_held_out"]
    answer = StackingFusion().answer(found, logits, MeanProbabilities(), None)
    torch.testing.assert_close(answer, expected.log_probabilities(logits.double()).float(), atol=1e-4, rtol=0)
    assert StackingFusion(folds=0).fit(said).facts["nll_held_out"] is None


def test_refused():
    with pytest.raises(CompressionError, match="folds=1: one part leaves no other"):
        StackingFusion(folds=1)
    with pytest.raises(
        CompressionError, match="folds=5 of 4 validation rows leaves some empty; write fewer, or 0 for none"
    ):
        StackingFusion().check_rows(4)
    StackingFusion().check_rows(5)
    StackingFusion(folds=0).check_rows(1)
    with pytest.raises(CompressionError, match="strength=0.0 must be above 0"):
        StackingFusion(strength=0.0)
