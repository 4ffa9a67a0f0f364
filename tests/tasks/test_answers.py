"""The best span over the windows of a text, against trying every pair."""

import numpy
import pytest
from datasets import Dataset
from transformers import EvalPrediction

from hf_compress.tasks.answers import BestSpans, best_span
from hf_compress.tasks.metrics.builtin.squad import Squad


def test_the_best_span_is_that_of_all_pairs():
    generator = numpy.random.default_rng(0)
    for longest in (1, 3, 20):
        logits, allowed = generator.normal(size=(12, 2)), generator.random(12) > 0.3
        pairs = {
            (first, last): logits[first, 0] + logits[last, 1]
            for first in range(12)
            for last in range(first, min(first + longest, 12))
            if allowed[first] and allowed[last]
        }
        wanted = max(pairs, key=pairs.get)
        assert best_span(logits, allowed, longest) == pytest.approx((pairs[wanted], *wanted))
    assert best_span(numpy.zeros((3, 2)), numpy.zeros(3, dtype=bool), 5) == (-numpy.inf, 0, 0)


ROWS = Dataset.from_dict(
    {
        "context": ["one two three", "four five"],
        "answers": [{"text": ["three"], "answer_start": [8]}, {"text": [], "answer_start": []}],
    }
)
WINDOWS = Dataset.from_dict(
    {
        "row": [0, 0, 1],
        "offsets": [[[-1, -1], [0, 3], [4, 7]], [[-1, -1], [4, 7], [8, 13]], [[-1, -1], [0, 4], [5, 9]]],
        "nowhere": [0, 0, 0],
    }
)
LOGITS = numpy.array(
    [
        [[0, 0], [2, 0], [0, 2]],  # one two, by 4; nothing by 0
        [[9, 9], [0, 0], [3, 3]],  # three, by 6, in the second window; nothing by 18, but not in the first
        [[1, 1], [0, 1], [0, 0]],  # four, by 1; nothing by 2
    ],
    dtype=numpy.float32,
)


@pytest.mark.parametrize(("unanswerable", "second"), [(False, "four"), (True, "")])
def test_windows_are_put_together_by_hand(unanswerable, second):
    options = {"context": "context", "answers": "answers", "longest": 30, "metrics": [Squad()]}
    spans = BestSpans(WINDOWS, ROWS, unanswerable=unanswerable, **options)
    assert spans.answers(LOGITS) == {0: "three", 1: second}
    wanted = {"exact_match": 100.0 if unanswerable else 50.0, "f1": 100.0 if unanswerable else 50.0}
    assert spans(EvalPrediction(predictions=LOGITS, label_ids=None)) == wanted
    assert spans(EvalPrediction(predictions=[LOGITS[:1], LOGITS[1:]], label_ids=None)) == wanted
    assert spans(EvalPrediction(predictions=LOGITS[:2], label_ids=None), compute_result=False) == {}
    assert spans(EvalPrediction(predictions=LOGITS[2:], label_ids=None), compute_result=True) == wanted


def test_spans_are_no_longer_than_allowed_and_some_windows_are_enough():
    options = {"context": "context", "answers": "answers", "unanswerable": False, "metrics": [Squad()]}
    spans = BestSpans(WINDOWS.select([0]), ROWS, longest=1, **options)
    assert spans.answers(LOGITS[:1]) == {0: "one"}
    assert spans(EvalPrediction(predictions=LOGITS[:1], label_ids=None)) == {"exact_match": 0.0, "f1": 0.0}
