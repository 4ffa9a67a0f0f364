"""What thresholds do with rows, by hand."""

import math

import pytest
import torch

from hf_compress._errors import CompressionError
from hf_compress.ensembling.fitting.cascade import NEVER, stages_of

CONFIDENCES = torch.tensor([[0.9, 0.5, 0.2, 0.2], [0.1, 0.1, 0.8, 0.3]])
RIGHT = torch.tensor([[1, 0, 0, 0], [0, 1, 1, 0], [0, 1, 0, 1]])


def test_a_row_pays_every_stage_that_it_visits_and_is_answered_by_the_first_that_is_sure():
    result = stages_of(CONFIDENCES, RIGHT, [1, 2, 10]).run([0.9, 0.8])
    # Row 0 by stage 0 (1, right), row 2 by stage 1 (1 + 2, right), rows 1 and 3 by stage 2 (1 + 2 + 10, right both).
    assert result.shares == (0.25, 0.25, 0.5)
    assert result.cost == pytest.approx((1 + 3 + 13 + 13) / 4)
    assert result.quality == pytest.approx(1.0)
    assert result.thresholds == (0.9, 0.8)


def test_nobody_reaches_never_and_all_reach_zero():
    stages = stages_of(CONFIDENCES, RIGHT, [1, 2, 10])
    assert stages.run([NEVER, NEVER]).shares == (0.0, 0.0, 1.0)
    assert stages.run([0.0, 0.0]).shares == (1.0, 0.0, 0.0)
    assert stages.run([NEVER, 0.0]).shares == (0.0, 1.0, 0.0)


def test_the_confidence_of_the_last_stage_is_not_looked_at():
    with_last = torch.cat((CONFIDENCES, torch.full((1, 4), math.nan)))
    assert stages_of(with_last, RIGHT, [1, 2, 10]).run([0.3, 0.3]) == stages_of(CONFIDENCES, RIGHT, [1, 2, 10]).run(
        [0.3, 0.3]
    )


@pytest.mark.parametrize(
    ("confidences", "quality", "costs", "sentence"),
    [
        (CONFIDENCES, RIGHT, [1], "1 costs given; a cascade has two stages or more"),
        (CONFIDENCES, RIGHT, [1, -2, 3], "the cost of stage 1 is -2"),
        (CONFIDENCES, RIGHT, [1, 2, math.inf], "the cost of stage 2 is inf"),
        (CONFIDENCES, RIGHT[:2], [1, 2, 3], r"quality has shape \(2, 4\); expected are \(3 stages, rows\)"),
        (CONFIDENCES[:, :0], RIGHT[:, :0], [1, 2, 3], r"quality has shape \(3, 0\)"),
        (CONFIDENCES[:, :3], RIGHT, [1, 2, 3], r"confidences have shape \(2, 3\)"),
        (CONFIDENCES[:1], RIGHT, [1, 2, 3], r"confidences have shape \(1, 4\)"),
        (CONFIDENCES * math.nan, RIGHT, [1, 2, 3], "a confidence of stage 0 is NaN or outside"),
        (CONFIDENCES * 2, RIGHT, [1, 2, 3], "a confidence of stage 0 is NaN or outside"),
        (CONFIDENCES, RIGHT / 0, [1, 2, 3], "the quality of stage 0 is NaN or infinite"),
    ],
)
def test_what_is_no_cascade_is_refused(confidences, quality, costs, sentence):
    with pytest.raises(CompressionError, match=sentence):
        stages_of(confidences, quality, costs)
