"""Streamed training rows become the examples that the same rows become, without an end."""

import itertools

import numpy
import PIL.Image
import pytest

from hf_compress._errors import CompressionError
from hf_compress.inputs.data import load_splits
from hf_compress.inputs.labels import label_ids
from hf_compress.inputs.processors import load_image_processor
from hf_compress.inputs.sections import Data, FreshModel
from hf_compress.tasks.builtin.causal_lm import CausalLM
from hf_compress.tasks.builtin.chat import Chat
from hf_compress.tasks.builtin.image_classification import ImageClassification
from hf_compress.tasks.builtin.seq2seq import Seq2Seq
from hf_compress.tasks.builtin.sequence_classification import SequenceClassification
from hf_compress.tasks.builtin.token_classification import TokenClassification
from hf_compress.tasks.prepared import prepare_examples
from hf_compress.tasks.task import Task
from tests.small import text_rows, write_jsonl
from tests.tiny import tiny_tokenizer, tiny_vit


def prepared(task, file, processor, labels):
    """One pass over the stream, its second pass, and the examples of the same rows without streaming."""
    data = Data(path=str(file), streaming=True, max_eval=4)
    raw = load_splits(data, 0)
    examples, facts = prepare_examples(task, data, raw, processor, labels, seed=0)
    assert "stream" in facts
    assert len(examples["validation"]) and len(examples["test"])
    plain = list(task.examples(raw, processor, labels)["train"])
    read = list(itertools.islice(examples["train"], 2 * len(plain)))
    return read[: len(plain)], read[len(plain) :], plain


def key(example):
    return {name: numpy.asarray(value).tolist() for name, value in sorted(example.items())}


def in_order(examples):
    return sorted(map(str, map(key, examples)))


def test_texts(tmp_path):
    task = SequenceClassification(label="name", length=16, classes=("cold", "warm"))
    file = write_jsonl(tmp_path / "rows.jsonl", text_rows(20))
    first, second, plain = prepared(task, file, tiny_tokenizer(), ["cold", "warm"])
    assert in_order(first) == in_order(plain) and list(map(key, first)) == list(map(key, second))


def test_sets_of_labels(tmp_path):
    task = SequenceClassification(problem="multi_label", length=16, classes=("a", "b"))
    rows = [{"text": row["text"], "label": [index % 2, 1]} for index, row in enumerate(text_rows(20))]
    first, _, plain = prepared(task, write_jsonl(tmp_path / "rows.jsonl", rows), tiny_tokenizer(), ["a", "b"])
    assert in_order(first) == in_order(plain)


def test_images(tmp_path):
    processor = load_image_processor(FreshModel(config={"model_type": "vit"}), tiny_vit().config)
    for number in range(20):
        (tmp_path / ("dark", "light")[number % 2]).mkdir(exist_ok=True)
        PIL.Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / ("dark", "light")[number % 2] / f"{number}.png")
    first, second, plain = prepared(ImageClassification(), tmp_path, processor, ["dark", "light"])
    assert in_order(first) == in_order(plain) and list(map(key, first)) == list(map(key, second))


def test_blocks_of_text_are_cut_from_the_stream_in_its_order(tmp_path):
    file = write_jsonl(tmp_path / "rows.jsonl", text_rows(30))
    first, second, _ = prepared(CausalLM(length=16), file, tiny_tokenizer(), [])
    assert all(len(block["input_ids"]) == 16 for block in first)
    assert list(map(key, first)) == list(map(key, second))


def test_a_stream_that_gives_no_example_is_refused(tmp_path):
    write_jsonl(tmp_path / "train.jsonl", [{"text": "a"}] * 3)
    for name in ("dev", "test"):
        write_jsonl(tmp_path / f"{name}.jsonl", text_rows(9))
    data = Data(path=str(tmp_path), streaming=True)
    raw = load_splits(data, 0)
    with pytest.raises(CompressionError, match="the train split of .* gives no blocks of 16 tokens; add rows"):
        prepare_examples(CausalLM(length=16), data, raw, tiny_tokenizer(), [], seed=0)


def test_a_label_behind_the_rows_that_were_checked_is_refused_by_name(tmp_path):
    splits = load_splits(Data(path=str(write_jsonl(tmp_path / "rows.jsonl", text_rows(20)))), 0)
    ids = label_ids(splits, "name", ["cold", "warm"], ["cold", "warm"])
    with pytest.raises(CompressionError, match="task.label: the label 'hot' is none of the known ones"):
        ids["hot"]


def test_tasks_that_look_at_all_rows_say_that_they_take_no_stream():
    streaming = {name for name, task in Task.available().items() if task.streams}
    assert {"causal_lm", "sequence_classification", "image_classification"} <= streaming
    assert not streaming & {"ctc", "question_answering"}


def test_conversations(tmp_path):
    rows = [
        {"prompt": row["text"][:9], "completion": row["text"][9:40], "n": index} for index, row in enumerate(text_rows(20))
    ]
    tokenizer = tiny_tokenizer()
    task = Chat(prompt="prompt", completion="completion", length=60)
    task.finish_processor(tokenizer, fresh=True)
    first, second, plain = prepared(task, write_jsonl(tmp_path / "rows.jsonl", rows), tokenizer, [])
    assert len(plain) == 12 and in_order(first) == in_order(plain) and list(map(key, first)) == list(map(key, second))


def test_words(tmp_path):
    rows = [{"tokens": row["text"].split()[:5], "labels": ["O", "B-x", "I-x", "O", "O"]} for row in text_rows(20)]
    task = TokenClassification(length=16, classes=("O", "B-x", "I-x"))
    file = write_jsonl(tmp_path / "rows.jsonl", rows)
    first, _, plain = prepared(task, file, tiny_tokenizer(), ["O", "B-x", "I-x"])
    assert in_order(first) == in_order(plain)
    with pytest.raises(CompressionError, match="task.classes: is missing: which labels a stream has"):
        data = Data(path=str(file), streaming=True, max_eval=4)
        TokenClassification().label_names(load_splits(data, 0), data)


def test_sources_and_targets(tmp_path):
    rows = [{"source": row["text"], "target": row["name"]} for row in text_rows(20)]
    task = Seq2Seq(source_length=16, target_length=8)
    first, _, plain = prepared(task, write_jsonl(tmp_path / "rows.jsonl", rows), tiny_tokenizer(), [])
    numbers = sorted(example.pop("row") for example in first)  # counted as they are read
    assert numbers == sorted(example.pop("row") for example in plain) and in_order(first) == in_order(plain)
