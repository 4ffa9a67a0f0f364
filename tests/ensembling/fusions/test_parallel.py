"""All members are asked, and a combiner makes one answer of theirs."""

import torch

from hf_compress import MeanProbabilities, ParallelFusion
from hf_compress.ensembling.fusion import Fused

LOGITS = torch.tensor([[[0.75, 0.25]], [[0.25, 0.75]]]).log()


def test_the_combiner_answers_and_every_member_is_paid():
    fusion = ParallelFusion()
    found = fusion.answer(Fused(), LOGITS, MeanProbabilities(), torch.tensor([3.0, 1.0]))
    torch.testing.assert_close(found.exp(), torch.tensor([[0.625, 0.375]]))
    assert fusion.given() == Fused() and not fusion.learns and not fusion.whole_rows
    assert fusion.on_rows(Fused(), LOGITS, torch.zeros(1), [1.0, 4.0]) == {"cost": 5.0}
    assert fusion.settled(Fused(), LOGITS).tolist() == [True]
