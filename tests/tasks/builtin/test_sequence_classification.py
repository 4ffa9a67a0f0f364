"""Texts with a label, labels or a number each."""

import math

import numpy
import pytest
import torch
from datasets import Dataset
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, EvalPrediction, LlamaConfig

from hf_compress._errors import CompressionError
from hf_compress._problems import RecipeError
from hf_compress.inputs.sections import Data, FreshModel
from hf_compress.tasks.builtin.sequence_classification import SequenceClassification
from tests.tiny import tiny_bert, tiny_tokenizer

NAMES = ["LABEL_0", "LABEL_1"]
DATA = Data(path="here")
HEAD = "BertForSequenceClassification"


def texts(*values):
    rows = {"text": values, "label": [0, 1] * (len(values) // 2)}
    return dict.fromkeys(("train", "validation", "test"), Dataset.from_dict(rows))


def test_a_text_is_cut_and_padded_in_its_batch():
    task, tokenizer = SequenceClassification(length=4), tiny_tokenizer()
    examples = task.examples(texts("abcdef", "ab"), tokenizer, NAMES)
    batch = task.collator(tokenizer)([examples["test"][0], examples["test"][1]])
    assert batch["input_ids"].shape == (2, 4) and batch["labels"].tolist() == [0, 1]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]


def test_texts_that_are_cut_are_counted():
    task, tokenizer = SequenceClassification(length=4), tiny_tokenizer()
    splits = texts("abcdef", "abcd", "ab", "a")
    facts = task.describe_examples(splits, task.examples(splits, tokenizer, NAMES))
    assert facts == {"texts cut at 4 tokens": "1 of 4 train rows, 1 of 4 validation rows, 1 of 4 test rows"}
    pairs = SequenceClassification(length=4, text_pair="text")
    facts = pairs.describe_examples(splits, pairs.examples(splits, tokenizer, NAMES))
    assert facts["texts cut at 4 tokens"].startswith("3 of 4 train rows")


def test_a_single_token_can_be_classified():
    assert SequenceClassification(length=1).length == 1
    with pytest.raises(CompressionError, match="length=0 must be 1 or more"):
        SequenceClassification(length=0)


def test_an_id_is_the_place_of_its_name():
    examples = SequenceClassification().examples(texts("a", "b"), tiny_tokenizer(), ["LABEL_1", "LABEL_0"])
    assert examples["train"]["labels"][:] == [1, 0]


def test_padding_does_not_change_what_is_measured():
    task, tokenizer = SequenceClassification(length=16), tiny_tokenizer()
    examples = task.examples(texts("a", "abc def ghi", "the end", "b"), tokenizer, NAMES)["test"]
    measured = [task.evaluate(tiny_bert(num_labels=2), examples, examples, tokenizer, size, "x") for size in (1, 4)]
    assert measured[0] == pytest.approx(measured[1], rel=1e-5)


def test_a_decoder_without_a_padding_token_gets_the_tokenizers():
    task, tokenizer = SequenceClassification(), tiny_tokenizer()
    for given, expected in ((None, {"pad_token_id": tokenizer.pad_token_id}), (5, {})):
        changes = task.config_changes("a/model", LlamaConfig(pad_token_id=given), tokenizer, None)
        assert changes == {"problem_type": "single_label_classification", **expected}


def data(label, **columns):
    rows = {"text": ["a", "bc", "d", "the end"], "label": label, **columns}
    return dict.fromkeys(("train", "validation", "test"), Dataset.from_dict(rows))


def labels_of(task, label):
    """Names, and the labels of the examples."""
    splits = data(label)
    names = task.label_names(splits, DATA)
    return names, task.examples(splits, tiny_tokenizer(), names)["test"]["labels"][:]


def test_one_label_is_text_a_number_or_true_and_false():
    task = SequenceClassification()
    assert labels_of(task, ["x", "y", "y", "x"]) == (["x", "y"], [0, 1, 1, 0])
    assert labels_of(task, [1, 0, 0, 1]) == (["LABEL_0", "LABEL_1"], [1, 0, 0, 1])
    assert labels_of(task, [True, False, False, True]) == (["false", "true"], [1, 0, 0, 1])
    with pytest.raises(CompressionError, match="task.label: column 'label' holds float64, .*; write problem: regression"):
        labels_of(task, [0.5, 1.0, 2.0, 0.0])


def test_several_labels_are_a_list_of_them_or_a_number_for_each():
    task, held = SequenceClassification(problem="multi_label"), [[1, 0, 1], [0, 0, 0], [0, 1, 0], [1, 1, 1]]
    named = [["x", "z"], [], ["y"], ["z", "y", "x"]]
    assert labels_of(task, named) == (["x", "y", "z"], held)
    assert labels_of(task, [[0, 2], [], [1], [2, 1, 0]]) == (["LABEL_0", "LABEL_1", "LABEL_2"], held)
    for kind in (int, float, bool):
        column = [[kind(one) for one in row] for row in held]
        assert labels_of(task, column) == (["LABEL_0", "LABEL_1", "LABEL_2"], held)
    examples = task.examples(data(named), tiny_tokenizer(), ["z", "x", "y"])["test"]
    assert examples["labels"][0] == [1, 1, 0]  # in the order of a trained classifier
    batch = task.collator(tiny_tokenizer())([examples[0], examples[1]])
    assert batch["labels"].dtype == torch.float32 and batch["labels"].shape == (2, 3)
    with pytest.raises(
        CompressionError, match="task.label: row 1 .counted from 0. of the train split has the label 0 twice"
    ):
        labels_of(task, [[0, 1], [0, 0, 1], [1], [0]])
    with pytest.raises(CompressionError, match="task.label: column 'label' .* holds Value..int64..*, not lists of labels"):
        labels_of(task, [0, 1, 0, 1])


def test_sets_are_measured_by_hand():
    task = SequenceClassification(problem="multi_label")
    logits = numpy.array([[2.0, -1.0, 0.5], [-1.0, -2.0, -0.1]])
    found, right = task.decoder(None, None, None)(logits, numpy.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]))
    assert (found, right) == ([[1, 0, 1], [0, 0, 0]], [[1, 0, 0], [0, 0, 1]])
    measured = task.compute_metrics(None, None, None)(EvalPrediction(logits, numpy.array(right, dtype=float)))
    assert measured["micro_f1"] == pytest.approx(2 * 1 / (2 + 2)) and measured["accuracy"] == 0
    assert (task.metric, task.greater_is_better, task.predicts) == ("micro_f1", True, "label_sets")


def test_numbers_are_measured_as_by_numpy_and_padding_changes_nothing():
    task, tokenizer, right = SequenceClassification(problem="regression", length=16), tiny_tokenizer(), [1, 0, 3, 2]
    splits = data(right)
    assert task.label_names(splits, DATA) == [] and task.metrics == ("loss", "pearsonr", "spearmanr")
    examples = task.examples(splits, tokenizer, [])["test"]
    model, found = tiny_bert(num_labels=1).eval(), []
    for row in examples:
        with torch.no_grad():
            found.append(model(input_ids=torch.tensor([row["input_ids"]])).logits.item())
    for size in (1, 3):
        measured = task.evaluate(model, examples, splits["test"], tokenizer, size, "x")
        assert measured["mse"] == pytest.approx(numpy.mean((numpy.array(found) - right) ** 2), rel=1e-5)
        assert measured["pearsonr"] == pytest.approx(numpy.corrcoef(found, right)[0, 1], rel=1e-4)
    for wrong in (math.nan, math.inf):
        with pytest.raises(RecipeError, match="task.label: row 2 .counted from 0. of the test split has the number"):
            task.check_data(data([1.0, 2.0, wrong, 0.0]), DATA)
    with pytest.raises(RecipeError, match="task.label: column 'label' .*, neither numbers nor whole numbers"):
        task.check_data(data(["x", "y", "x", "y"]), DATA)


def test_the_config_says_what_is_predicted():
    task = SequenceClassification(problem="regression")
    changes = task.config_changes(FreshModel(config={"model_type": "bert"}), BertConfig(), tiny_tokenizer(), None)
    assert changes["problem_type"] == "regression" and changes["id2label"] == {0: "LABEL_0"}
    assert {"problem_type", "id2label", "label2id"} <= set(task.decided)
    several = SequenceClassification(problem="multi_label")
    assert several.config_changes("a/model", BertConfig(), None, None) == {"problem_type": "multi_label_classification"}
    with pytest.raises(CompressionError, match="model: a/model classifies 3 labels, and regression predicts one number"):
        task.config_changes("a/model", BertConfig(num_labels=3, architectures=[HEAD]), None, None)
    for fits in ({"num_labels": 1, "architectures": [HEAD]}, {"num_labels": 3, "architectures": ["BertModel"]}):
        assert task.config_changes("a/model", BertConfig(**fits), None, None)["label2id"] == {"LABEL_0": 0}


def test_a_second_text_is_read_behind_the_first_and_told_from_it():
    task, tokenizer = SequenceClassification(text_pair="other", length=6), tiny_tokenizer()
    splits = data([0, 1, 0, 1], other=["x", "y", "zzzzzz", "w"])
    assert [column.key for column in task.columns()] == ["text", "text_pair", "label"]
    assert list(task.texts(splits["train"])) == ["a", "bc", "d", "the end", "x", "y", "zzzzzz", "w"]

    def read(made):
        return [tokenizer.convert_ids_to_tokens(ids) for ids in made["test"]["input_ids"]]

    rows = read(task.examples(splits, tokenizer, NAMES))
    assert rows[0] == ["a", "</s>", "x"] and rows[2] == ["d", "</s>", "z", "z", "z", "z"]
    start, end = tokenizer.bos_token, tokenizer.eos_token
    ids = [(start, tokenizer.bos_token_id), (end, tokenizer.eos_token_id)]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{start} $A {end}", pair=f"{start} $A {end} $B:1 {end}:1", special_tokens=ids
    )
    assert read(task.examples(splits, tokenizer, NAMES))[0] == ["<s>", "a", "</s>", "x", "</s>"]


def test_classes_of_the_recipe_name_sets_of_labels_in_any_form():
    task = SequenceClassification(problem="multi_label", classes=("a", "b", "c"))
    for rows, expected in (
        ([[1, 0, 1], [0, 0, 0]], [[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]]),
        ([["c"], ["b", "a"]], [[0.0, 0.0, 1.0], [1.0, 1.0, 0.0]]),
        ([[2], [0, 1]], [[0.0, 0.0, 1.0], [1.0, 1.0, 0.0]]),
        ([[0, 1], [1, 0]], [[1.0, 1.0, 0.0], [1.0, 1.0, 0.0]]),  # as wide as no class has a 0 or 1: numbers
    ):
        given = dict.fromkeys(("train", "validation", "test"), Dataset.from_dict({"text": ["x", "y"], "label": rows}))
        assert task.label_names(given, DATA) == ["a", "b", "c"]
        assert list(map(task._target(given, ["a", "b", "c"]), rows)) == expected


def test_a_number_has_no_classes():
    with pytest.raises(CompressionError, match="regression predicts a number, which has no classes; leave classes out"):
        SequenceClassification(problem="regression", classes=("a", "b"))
