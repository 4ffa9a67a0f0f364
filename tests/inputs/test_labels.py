"""An id means the same label in data, config and a trained classifier."""

import pytest
from datasets import ClassLabel, Dataset, Features, Value
from transformers import AutoModelForSequenceClassification, BertConfig

from hf_compress._errors import CompressionError
from hf_compress.inputs.labels import check_classes, label_ids, label_names, order_labels


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


CLASSES = {
    "numbers": ([1, 0, 1], None, {0: 0, 1: 1, 2: 2}),
    "numbers with a gap": ([2, 0], None, {0: 0, 1: 1, 2: 2}),
    "text": (["pos", "neg"], None, {"neg": 0, "even": 1, "pos": 2}),
    "class names in another order": ([0, 1], ["pos", "neg"], {0: 2, 1: 0}),
}


@pytest.mark.parametrize("case", CLASSES)
def test_classes_of_the_recipe_name_what_the_data_has(case):
    values, names, ids = CLASSES[case]
    classes = ["neg", "even", "pos"]
    assert label_names(splits(values, names), "label", classes=classes) == classes
    assert label_ids(splits(values, names), "label", classes, classes) == ids


def test_false_and_true_are_the_first_and_the_second_class():
    given = dict.fromkeys(("train", "validation", "test"), Dataset.from_dict({"label": [True, False]}))
    assert label_names(given, "label", classes=["bad", "good"]) == ["bad", "good"]
    assert label_ids(given, "label", ["bad", "good"], ["bad", "good"]) == {False: 0, True: 1}


def test_a_trained_classifiers_order_wins_over_that_of_the_recipes_classes():
    classes = ["neg", "pos"]
    names = order(classes, ["POS", "NEG"])
    assert names == ["pos", "neg"] and label_ids(splits([0, 1]), "label", names, classes) == {0: 1, 1: 0}


OUTSIDE = {
    "text": (
        ["neg", "pos", "nice"],
        None,
        r"row 2 .counted from 0. of the train split has the label 'nice', .* classes neg, pos; add it",
    ),
    "numbers": ([0, 1, 2], None, "row 2 .counted from 0. of the train split has the label 2, which is none"),
    "unlabelled": ([0, -1], None, "row 1 .counted from 0. of the train split has the label -1, which is none"),
    "class names": (
        [0, 1],
        ["neg", "nice"],
        "row 1 .counted from 0. of the train split has the label 'nice', which is none",
    ),
}


@pytest.mark.parametrize("case", OUTSIDE)
def test_a_label_outside_the_classes_is_refused_with_its_row(case):
    values, names, message = OUTSIDE[case]
    with pytest.raises(CompressionError, match=f"^task.label: {message}"):
        label_names(splits(values, names), "label", classes=["neg", "pos"])
    nested = {"train": Dataset.from_dict({"label": [["a"], ["a", "c"]]})}
    with pytest.raises(CompressionError, match="^task.labels: row 1 .counted from 0. of the train split has the label 'c'"):
        label_names(nested, "label", key="labels", classes=["a", "b"])


@pytest.mark.parametrize(
    ("classes", "message"),
    [(("a", "b", "a"), "classes names 'a' twice"), (("a", " "), "an empty name"), (("a",), r"one name only \(a\)")],
)
def test_names_that_tell_no_classes_apart_are_refused(classes, message):
    check_classes(())
    with pytest.raises(CompressionError, match=message):
        check_classes(classes)
