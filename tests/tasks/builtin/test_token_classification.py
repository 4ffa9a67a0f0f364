"""Sentences with a label for every word."""

import numpy
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, List, Value
from seqeval.metrics import f1_score
from transformers import BertForTokenClassification, BertTokenizer, EvalPrediction

from hf_compress._errors import CompressionError
from hf_compress._problems import RecipeError
from hf_compress.inputs.sections import Data
from hf_compress.tasks.builtin.token_classification import TokenClassification, words_of_tokens
from tests.tiny import tiny_bert, tiny_tokenizer

NAMES = ["O", "B-a", "I-a"]
DATA = Data(path="here")


def sentences(*rows, names=NAMES, labels=None):
    feature = ClassLabel(names=names) if labels is None else labels
    features = Features({"tokens": List(Value("string")), "labels": List(feature)})
    rows = {"tokens": [row[0].split() for row in rows], "labels": [row[1] for row in rows]}
    return dict.fromkeys(("train", "validation", "test"), Dataset.from_dict(rows, features=features))


def word_pieces(tmp_path):
    file = tmp_path / "vocab.txt"
    file.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "ab", "##c", "##d", "x", "-", "y"]))
    return BertTokenizer(str(file))


def test_the_first_token_of_a_word_has_its_label(tmp_path):
    tokenizer = word_pieces(tmp_path)
    splits = sentences(("abcd x-y x", [1, 2, 0]))
    examples = TokenClassification(length=16).examples(splits, tokenizer, NAMES)
    assert tokenizer.convert_ids_to_tokens(examples["train"][0]["input_ids"]) == [
        *["[CLS]", "ab", "##c", "##d", "x", "-", "y", "x", "[SEP]"]
    ]
    assert examples["train"][0]["labels"] == [-100, 1, -100, -100, 2, -100, -100, 0, -100]
    assert examples["train"][0]["tags"] == [1, 2, 0]
    whole = TokenClassification(length=16, label_all=True).examples(splits, tokenizer, NAMES)
    assert whole["train"][0]["labels"] == [-100, 1, 2, 2, 2, 2, 2, 0, -100]  # what begins as B-a goes on as I-a
    assert whole["test"][0]["labels"] == examples["test"][0]["labels"]  # every word is measured once


def test_words_that_are_not_read_are_counted(tmp_path):
    splits, tokenizer = sentences(("abcd x-y x", [1, 2, 0]), ("x", [0])), word_pieces(tmp_path)
    for length, words in ((16, "none"), (6, ", ".join(f"1 of 4 {name} words" for name in splits))):
        task = TokenClassification(length=length)
        facts = task.describe_examples(splits, task.examples(splits, tokenizer, NAMES))
        assert facts == {f"words not read, by {length} tokens or by the tokenizer": words}


def test_words_are_told_apart_as_by_transformers_own_way_for_words(tmp_path):
    tokenizer, words = word_pieces(tmp_path), ["abc", "x-y", "abcd", "x"]
    made = tokenizer(" ".join(words), return_offsets_mapping=True)
    theirs = tokenizer(words, is_split_into_words=True)
    assert made["input_ids"] == theirs["input_ids"]
    assert words_of_tokens(words, made["offset_mapping"]) == theirs.word_ids()


def test_a_token_belongs_to_the_word_that_it_ends_in():
    # "New York": " Yo" as a byte-level tokenizer has it, a space alone, a special token; and an empty word.
    assert words_of_tokens(["New", "York"], [(0, 0), (0, 3), (3, 6), (6, 8), (3, 4)]) == [None, 0, 1, 1, None]
    assert words_of_tokens(["a", "", "b"], [(0, 1), (1, 2), (3, 4)]) == [0, None, 2]


def test_what_is_cut_has_no_label_and_sentences_without_words_are_left_out():
    splits = sentences(("ab cd", [1, 2]), ("", []))
    examples = TokenClassification(length=3).examples(splits, tiny_tokenizer(), NAMES)["test"]
    assert len(examples) == 1 and examples[0]["labels"] == [1, -100, -100] and examples[0]["tags"] == [1]
    nothing = {"train": splits["train"], "test": sentences(("", []))["test"]}
    with pytest.raises(CompressionError, match=r"task.tokens: the test split has no sentence with words"):
        TokenClassification().examples(nothing, tiny_tokenizer(), NAMES)


def test_entities_are_counted_as_by_seqeval_and_padding_changes_nothing():
    task, tokenizer = TokenClassification(length=32), tiny_tokenizer()
    generator = numpy.random.default_rng(0)
    words = ["the", "cat", "sat", "on", "mats"]
    rows = [(" ".join(words[:size]), generator.integers(0, 3, size).tolist()) for size in (1, 4, 3, 2, 5, 1, 4)]
    examples = task.examples(sentences(*rows), tokenizer, NAMES)["test"]
    model = tiny_bert(seed=3, cls=BertForTokenClassification).eval()
    found = []
    for row in examples:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([row["input_ids"]])).logits[0]
        kept = torch.tensor(row["labels"]) != -100
        found.append(([NAMES[id] for id in logits.argmax(-1)[kept]], [NAMES[id] for id in row["tags"]]))
    expected = f1_score([right for _, right in found], [guess for guess, _ in found])
    for size in (1, 3, 7):
        measured = task.evaluate(model, examples, None, tokenizer, size, "x")
        assert measured["overall_f1"] == pytest.approx(expected) and 0 < expected < 1
    right = [a == b for guess, truth in found for a, b in zip(guess, truth, strict=True)]
    assert measured["overall_accuracy"] == pytest.approx(sum(right) / len(right)) and measured["num_examples"] == 7
    words = TokenClassification(length=32, entities=False)
    assert (words.metric, words.metrics) == ("accuracy", ("loss", "accuracy"))
    assert words.evaluate(model, examples, None, tokenizer, 3, "x")["accuracy"] == pytest.approx(sum(right) / len(right))


def test_the_trainer_keeps_the_likeliest_labels_alone():
    task = TokenClassification()
    logits, labels = torch.tensor([[[0.0, 2.0, 1.0], [3.0, 0.0, 0.0]]]), torch.tensor([[1, -100]])
    kept = task.preprocess_logits()((logits, "hidden states"), labels)
    assert kept.tolist() == [[1, 0]]
    examples = task.examples(sentences(("ab", [1])), tiny_tokenizer(), NAMES)["test"]
    measured = task.compute_metrics(examples, None, None)(EvalPrediction(kept.numpy(), labels.numpy()))
    assert measured["overall_f1"] == 1 and set(task.metrics) == {"loss", *measured}


def test_rows_whose_lengths_differ_are_named_and_so_are_other_mistakes():
    splits = sentences(("a b", [0, 1]), ("a b c", [0]), ("a", [0, 1]))
    with pytest.raises(
        CompressionError,
        match="task.labels: row 1 .counted from 0. of the train split has 3 tokens and 1 labels .and 1 more such row.",
    ) as r:
        TokenClassification().check_data(splits, DATA)
    assert len(r.value.problems) == 3
    with pytest.raises(RecipeError, match=r"task.tokens: row 0 .* has a gap \(null\) in 'tokens'; remove it"):
        rows = Dataset.from_dict({"tokens": [["a", None]], "labels": [["O", "B-x"]]})
        TokenClassification().check_data({"train": rows}, DATA)


def test_labels_are_named_classes_text_or_numbers_and_mark_entities_unless_they_need_not():
    by_text = sentences(("a b c", ["O", "I-x", "B-x"]), labels=Value("string"))
    assert TokenClassification().label_names(by_text, DATA) == ["B-x", "I-x", "O"]
    parts = sentences(("a b", ["NOUN", "VERB"]), labels=Value("string"))
    with pytest.raises(CompressionError, match="task.labels: .*'NOUN' is none of them.*; or write entities: false"):
        TokenClassification().label_names(parts, DATA)
    assert TokenClassification(entities=False).label_names(parts, DATA) == ["NOUN", "VERB"]
    numbers = sentences(("a b", [0, 1]), labels=Value("int64"))
    assert TokenClassification(entities=False).label_names(numbers, DATA) == ["LABEL_0", "LABEL_1"]
    unlabelled = sentences(("a b", [0, -1]), labels=Value("int64"))
    with pytest.raises(CompressionError, match="task.labels: row 0 .counted from 0. of the train split has the label -1"):
        TokenClassification().label_names(unlabelled, DATA)


def test_a_tokenizer_without_offsets_is_refused():
    class Slow:
        is_fast = False

        def __len__(self):
            return 3

    with pytest.raises(CompressionError, match="tokenizer: Slow does not say where in a text a token stands"):
        TokenClassification().check_config(tiny_bert().config, Slow())
