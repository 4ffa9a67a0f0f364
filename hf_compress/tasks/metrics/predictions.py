"""What metrics compare: the kinds of predictions, how `evaluate` stores them, and an example of each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from datasets import Features

Predictions = Literal["classes", "label_sets", "numbers", "tags", "spans", "texts"]
"""What one prediction, and what one reference is:

classes     an id, and an id
label_sets  0 or 1 for every label, and the same
numbers     a number, and a number
tags        a list of tags for a sentence ("B-PER"), and a list as long
spans       {"id", "prediction_text"}, and {"id", "answers": {"text": [...], "answer_start": [...]}}, as in SQuAD
texts       a text, and a text or a list of texts that are each right
"""


@dataclass(frozen=True, kw_only=True)
class Example:
    """A few predictions of one kind, with what is right."""

    predictions: Sequence[Any]
    references: Sequence[Any]


def _span(index: int, predicted: str, *right: str) -> tuple[dict[str, Any], dict[str, Any]]:
    name = str(index)
    answers = {"text": list(right), "answer_start": [0] * len(right)}
    return {"id": name, "prediction_text": predicted}, {"id": name, "answers": answers}


_SPANS = (
    _span(0, "the tower", "tower", "a tower"),
    _span(1, "in Paris", "Paris"),
    _span(2, "1889", "1889"),
    _span(3, "iron", "the river"),
)
EXAMPLES: dict[Predictions, Example] = {
    "classes": Example(predictions=[0, 1, 1, 0, 1], references=[0, 1, 0, 0, 1]),
    "label_sets": Example(
        predictions=[[1, 0, 1], [0, 1, 0], [0, 0, 0], [1, 1, 0]], references=[[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]]
    ),
    "numbers": Example(predictions=[0.5, 1.5, 1.0, 3.0, -2.0], references=[1.0, 2.0, 1.0, 2.5, -1.0]),
    "tags": Example(
        predictions=[["B-PER", "I-PER", "O"], ["O", "B-LOC"], ["B-ORG", "O", "O", "B-PER"]],
        references=[["B-PER", "I-PER", "O"], ["B-LOC", "I-LOC"], ["B-ORG", "O", "O", "B-LOC"]],
    ),
    "spans": Example(predictions=[span for span, _ in _SPANS], references=[answer for _, answer in _SPANS]),
    "texts": Example(
        predictions=["the cat sat on the mat", "a dog ran over the green hill", "it is raining today"],
        references=["the cat sat on a mat", "a dog ran over the hill", "it rains today"],
    ),
}
"""Two labels or more, a right and a wrong answer in each."""


def features_of(kind: Predictions) -> "list[Features]":
    """The columns `predictions` and `references`; of texts in both forms of references."""
    from datasets import Features, List, Value

    text, answers = Value("string"), {"text": List(Value("string")), "answer_start": List(Value("int32"))}
    one: dict[Predictions, Any] = {
        "classes": Value("int64"),
        "label_sets": List(Value("int64")),
        "numbers": Value("float64"),
        "tags": List(text),
        "texts": text,
    }
    if kind == "spans":
        predicted = {"id": text, "prediction_text": text}
        return [Features({"predictions": predicted, "references": {"id": text, "answers": answers}})]
    forms = [one[kind], List(text)] if kind == "texts" else [one[kind]]
    return [Features({"predictions": one[kind], "references": form}) for form in forms]
