"""Eleven answers out of a few, right and wrong, in the form of every kind of predictions."""

import random

from hf_compress.tasks.metrics.builtin.hub import Hub
from hf_compress.tasks.metrics.metric import Metric
from hf_compress.tasks.metrics.predictions import EXAMPLES

NUM_ANSWERS = 3
_DRAWS = random.Random(0)
ROWS = [(_DRAWS.randrange(NUM_ANSWERS), _DRAWS.randrange(NUM_ANSWERS)) for _ in range(11)]
"""Predicted and right; an odd number, so that the last batch of two processes is padded."""


def metrics_of():
    """Every metric of ours, with options that go with these answers, by kind."""
    found = {kind: [] for kind in EXAMPLES}
    for name, cls in Metric.available().items():
        if cls is not Hub:
            for kind in cls.takes:
                found[kind].append(cls(average="macro") if name == "f1" else cls())
    return found


def rows_of(kind, predicted, right):
    """Ids of answers as predictions and references of a kind: those of the kind's example."""
    example = EXAMPLES[kind]
    truths = list(example.references)
    guesses = list(example.predictions)
    if kind == "classes":
        return [int(one) for one in predicted], [int(one) for one in right]
    if kind == "spans":
        answers = [row["answers"]["text"][0] for row in truths]
        ids = [f"{one}-{other}" for one, other in zip(predicted, right, strict=True)]
        found = [{"id": name, "prediction_text": answers[one]} for name, one in zip(ids, predicted, strict=True)]
        return found, [{**truths[other], "id": name} for name, other in zip(ids, right, strict=True)]
    if kind == "tags":  # as long as the right ones
        truths = [[*row, "O", "O", "O", "O"][:4] for row in truths]
    # A right answer is the right text itself, a wrong one is another row's guess.
    found = [
        truths[other] if one == other else ([*guesses[one], "O", "O", "O", "O"][:4] if kind == "tags" else guesses[one])
        for one, other in zip(predicted, right, strict=True)
    ]
    return found, [truths[other] for other in right]
