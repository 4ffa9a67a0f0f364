"""Entities in sequences of tags."""

import random

import pytest

from hf_compress._errors import CompressionError
from hf_compress.tasks.metrics.builtin.seqeval import Seqeval


@pytest.fixture(scope="module")
def library():
    return pytest.importorskip(
        "seqeval", reason="seqeval, the reference, is no longer kept and does not install everywhere"
    )


def drawn(prefixes, seed, rows=60):
    """Sentences of tags, right in form or not, and guesses that are often right."""
    draws = random.Random(seed)
    tags = ["O", *[f"{prefix}-{kind}" for prefix in prefixes for kind in ("PER", "LOC", "A-B")]]
    truth = [[draws.choice(tags) for _ in range(draws.randrange(1, 9))] for _ in range(rows)]
    return [[tag if draws.random() < 0.7 else draws.choice(tags) for tag in row] for row in truth], truth


def test_entities_by_hand():
    # Right: PER at 0-1. Predicted too: ORG at 3. There too: LOC at 3-4.
    found = Seqeval().compute([["B-PER", "I-PER", "O", "B-ORG", "O"]], [["B-PER", "I-PER", "O", "B-LOC", "I-LOC"]])
    assert found == {"overall_f1": 0.5, "overall_precision": 0.5, "overall_recall": 0.5, "overall_accuracy": 0.6}


def test_strict_reading_takes_no_entity_without_its_beginning():
    predictions, references = [["O", "I-PER", "I-PER"], ["B-PER", "I-LOC"]], [["O", "B-PER", "I-PER"], ["B-PER", "O"]]
    # By default I-PER behind O begins an entity, and so does I-LOC behind B-PER.
    assert Seqeval().compute(predictions, references)["overall_precision"] == pytest.approx(2 / 3)
    assert Seqeval().compute(predictions, references)["overall_recall"] == 1
    strict = Seqeval(strict=True).compute(predictions, references)
    assert strict["overall_precision"] == 1 and strict["overall_recall"] == 0.5


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("prefixes", "strict"), [("BI", False), ("BIES", False), ("BI", True)])
def test_it_is_that_of_seqeval(library, prefixes, strict, seed):
    from seqeval.metrics import accuracy_score, f1_score, precision_score, recall_score
    from seqeval.scheme import IOB2

    predictions, references = drawn(prefixes, seed)
    options = {"mode": "strict", "scheme": IOB2} if strict else {}
    scores = {"overall_f1": f1_score, "overall_precision": precision_score, "overall_recall": recall_score}
    expected = {key: score(references, predictions, average="micro", **options) for key, score in scores.items()}
    expected["overall_accuracy"] = accuracy_score(references, predictions)
    assert Seqeval(strict=strict).compute(predictions, references) == pytest.approx(expected)


def test_no_entity_anywhere_is_zero_and_an_empty_sentence_counts_nothing():
    assert Seqeval().compute([["O", "O"], []], [["O", "O"], []]) == {
        "overall_f1": 0,
        "overall_precision": 0,
        "overall_recall": 0,
        "overall_accuracy": 1,
    }
    with pytest.raises(CompressionError, match="seqeval of no tags is not defined; every sentence is empty"):
        Seqeval().compute([[]], [[]])


def test_what_marks_no_entities_is_refused():
    Seqeval().check("tags", ["O", "B-PER", "I-PER"])
    for label in ("NOUN", "B-", "B", "X-PER"):
        with pytest.raises(
            CompressionError, match=f"whose tags are O and B-TYPE, .*; '{label}' is none of them: name accuracy"
        ):
            Seqeval().check("tags", ["O", label])
    with pytest.raises(CompressionError, match="O and B-TYPE, I-TYPE; 'S-PER' is none"):
        Seqeval(strict=True).check("tags", ["S-PER"])
    with pytest.raises(CompressionError, match="row 1 has 2 predicted tags and 1 right ones; give one of each"):
        Seqeval().compute([["O"], ["O", "O"]], [["O"], ["O"]])
