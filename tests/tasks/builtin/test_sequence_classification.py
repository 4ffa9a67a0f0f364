"""Texts with a label each."""

import pytest
from datasets import Dataset
from transformers import LlamaConfig

from hf_compress._errors import CompressionError
from hf_compress.tasks.builtin.sequence_classification import SequenceClassification
from tests.tiny import tiny_bert, tiny_tokenizer

NAMES = ["LABEL_0", "LABEL_1"]


def texts(*values):
    rows = {"text": values, "label": [0, 1] * (len(values) // 2)}
    return dict.fromkeys(("train", "validation", "test"), Dataset.from_dict(rows))


def test_a_text_is_cut_and_padded_in_its_batch():
    task, tokenizer = SequenceClassification(length=4), tiny_tokenizer()
    examples = task.examples(texts("abcdef", "ab"), tokenizer, NAMES)
    batch = task.collator(tokenizer)([examples["test"][0], examples["test"][1]])
    assert batch["input_ids"].shape == (2, 4) and batch["labels"].tolist() == [0, 1]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]


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
        assert task.config_changes("a/model", LlamaConfig(pad_token_id=given), tokenizer, None) == expected
