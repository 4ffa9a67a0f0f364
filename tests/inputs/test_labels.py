"""An id means the same label in data, config and a trained classifier."""

import pytest
from datasets import ClassLabel, Dataset, Features, Value
from transformers import AutoModelForSequenceClassification, BertConfig

from hf_compress._errors import CompressionError
from hf_compress.inputs.labels import label_ids, label_names, order_labels


def splits(values, names=None):
    kind = ClassLabel(names=names) if names else Value("string" if isinstance(values[0], str) else "int64")
    split = Dataset.from_dict({"label": values}, features=Features({"label": kind}))
    return dict.fromkeys(("train", "validation", "test"), split)


def trained(names):
    config = BertConfig(id2label=dict(enumerate(names)), label2id={name: index for index, name in enumerate(names)})
    config.architectures = ["BertForSequenceClassification"]
    return config


def order(labels, names, trained_anew=False):
    return order_labels(labels, trained(names), "a/model", AutoModelForSequenceClassification, trained_anew)


CASES = {
    "text is sorted": (["b", "a", "b"], None, ["a", "b"], {"a": 0, "b": 1}),
    "class names keep their numbers": ([1, 0, 1], ["z", "y"], ["z", "y"], {0: 0, 1: 1}),
    "numbers have no names": ([2, 0, 1], None, ["LABEL_0", "LABEL_1", "LABEL_2"], {0: 0, 1: 1, 2: 2}),
}


@pytest.mark.parametrize("case", CASES)
def test_names_and_ids_by_hand(case):
    values, names, expected, ids = CASES[case]
    assert label_names(splits(values, names), "label") == expected
    assert label_ids(splits(values, names), "label", expected) == ids


def test_a_trained_classifiers_order_wins_and_ids_follow():
    names = order(["cold", "warm"], ["Warm", "Cold"])
    assert names == ["warm", "cold"]
    assert label_ids(splits(["cold", "warm"]), "label", names) == {"warm": 0, "cold": 1}


def test_unnamed_labels_take_the_classifiers_names():
    assert order(["LABEL_0", "LABEL_1"], ["bad", "good"]) == ["bad", "good"]
    assert order(["bad", "good"], ["LABEL_0", "LABEL_1"]) == ["bad", "good"]
    assert label_ids(splits([0, 1]), "label", ["bad", "good"]) == {0: 0, 1: 1}


def test_a_model_without_a_classifier_has_no_order():
    assert order_labels(["b", "c"], BertConfig(), "a/model", AutoModelForSequenceClassification, False) == ["b", "c"]


def test_other_labels_are_refused_unless_the_head_is_trained_first():
    assert order(["x", "y"], ["bad", "good"], trained_anew=True) == ["x", "y"]
    with pytest.raises(CompressionError, match="classifies bad, good and the data x, y, so an id has two meanings"):
        order(["x", "y"], ["bad", "good"])
    with pytest.raises(CompressionError, match=r"classifies 2 labels \(bad, good\) and the data has 3 \(x, y, z\)"):
        order(["x", "y", "z"], ["bad", "good"], trained_anew=True)
