"""F1 and its averages."""

import numpy
import pytest
from sklearn.metrics import f1_score

from hf_compress._errors import CompressionError
from hf_compress.tasks.metrics.builtin.f1 import F1, MacroF1, MicroF1, WeightedF1

NAMED = {"macro": MacroF1(), "micro": MicroF1(), "weighted": WeightedF1()}


def test_the_averages_by_hand():
    # Class 0: precision 2/3, recall 1, F1 4/5. Class 1: precision 1, recall 1/2, F1 2/3.
    predictions, references = [0, 0, 0, 1], [0, 0, 1, 1]
    assert F1().compute(predictions, references) == {"f1": pytest.approx(2 / 3)}
    assert F1(pos_label=0).compute(predictions, references) == {"f1": pytest.approx(4 / 5)}
    assert MacroF1().compute(predictions, references) == {"macro_f1": pytest.approx((4 / 5 + 2 / 3) / 2)}
    assert MicroF1().compute(predictions, references) == {"micro_f1": 0.75}
    assert WeightedF1().compute([0, 0, 0], [0, 0, 1]) == {"weighted_f1": pytest.approx(4 / 5 * 2 / 3)}


@pytest.mark.parametrize("average", ["binary", "macro", "micro", "weighted"])
@pytest.mark.parametrize("case", ["random", "one class missing", "never right", "all the same"])
def test_it_is_that_of_scikit_learn(average, case):
    draws = numpy.random.default_rng(0)
    references = draws.integers(0, 2 if average == "binary" else 4, 60)
    predictions = {
        "random": draws.permutation(references),
        "one class missing": numpy.where(references == 1, 0, references),
        "never right": (references + 1) % (references.max() + 1),
        "all the same": numpy.zeros_like(references),
    }[case]
    expected = f1_score(references, predictions, average=average, zero_division=0)
    assert F1(average=average).compute(predictions, references) == {"f1": expected}
    if average in NAMED:
        assert NAMED[average].compute(predictions, references) == {f"{average}_f1": expected}


@pytest.mark.parametrize("average", ["macro", "micro", "weighted", "samples"])
def test_sets_of_labels_are_those_of_scikit_learn(average):
    draws = numpy.random.default_rng(0)
    predictions, references = draws.integers(0, 2, (20, 3)), draws.integers(0, 2, (20, 3))
    expected = f1_score(references, predictions, average=average, zero_division=0)
    assert F1(average=average).compute(predictions.tolist(), references.tolist()) == {"f1": expected}


def test_an_average_that_does_not_fit_the_labels_is_refused():
    F1().check("classes", ["a", "b"])
    F1(average="macro").check("classes", ["a", "b", "c"])
    with pytest.raises(CompressionError, match="there are 3 labels; name macro_f1, micro_f1 or weighted_f1"):
        F1().check("classes", ["a", "b", "c"])
    with pytest.raises(CompressionError, match="pos_label=2 is not the id of one of two classes; write 0 or 1"):
        F1(pos_label=2).check("classes", ["a", "b"])
    with pytest.raises(CompressionError, match="samples is about rows with sets of labels; name macro_f1"):
        F1(average="samples").check("classes", ["a", "b"])
    with pytest.raises(CompressionError, match="f1 with average: binary: Target is multiclass"):
        F1().compute([0, 1, 2], [0, 1, 2])
    with pytest.raises(CompressionError, match="average='micor' is not|one of 'binary', 'macro'"):
        F1(average="micor")
