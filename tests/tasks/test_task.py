"""Examples as the model takes them."""

import pytest
from datasets import Dataset
from tokenizers import pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import GPT2Tokenizer

from hf_compress._errors import CompressionError
from hf_compress.inputs.data import load_splits
from hf_compress.inputs.fresh import END_OF_TEXT, train_tokenizer
from hf_compress.inputs.processors import load_image_processor
from hf_compress.inputs.sections import Data, FreshModel, FreshTokenizer
from hf_compress.jobs.train.settings import Dense
from hf_compress.tasks.task import TASKS
from tests.small import write_images
from tests.tiny import tiny_bert, tiny_tokenizer, tiny_vit


def texts(*values):
    return dict.fromkeys(
        ("train", "validation", "test"), Dataset.from_dict({"text": values, "label": [0, 1] * (len(values) // 2)})
    )


def test_blocks_by_hand():
    tokenizer = tiny_tokenizer()
    examples = TASKS["causal_lm"].prepare(texts("abc", "de"), tokenizer, Data(path="here", length=3), [])
    a, b, c, d, e, end = (tokenizer.convert_tokens_to_ids(token) for token in [*"abcde", "</s>"])
    # a b c END d e END: two blocks of three, and the seventh token is left out.
    assert examples["train"]["input_ids"][:] == [[a, b, c], [end, d, e]] == examples["train"]["labels"][:]


def that_begins_texts(tokenizer):
    """The same tokenizer, which puts its token for the beginning before every text, as Llama's and Gemma's do."""
    start = tokenizer.bos_token
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{start} $A", special_tokens=[(start, tokenizer.bos_token_id)]
    )
    return tokenizer


def test_each_document_begins_as_the_tokenizer_begins_a_text(tmp_path):
    tokenizer = that_begins_texts(tiny_tokenizer())
    examples = TASKS["causal_lm"].prepare(texts("abc", "d"), tokenizer, Data(path="here", length=4), [])["train"]
    begin, a, b, c, d, end = (tokenizer.convert_tokens_to_ids(token) for token in ["<s>", *"abcd", "</s>"])
    assert tokenizer("abc")["input_ids"] == [begin, a, b, c]
    assert examples["input_ids"][:] == [[begin, a, b, c], [end, begin, d, end]]
    assert examples["labels"][:] == [[-100, a, b, c], [end, -100, d, end]]  # nothing has to predict a beginning


def test_a_beginning_that_the_text_brought_is_not_doubled():
    tokenizer = that_begins_texts(tiny_tokenizer())
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    examples = TASKS["causal_lm"].prepare(texts("<s> a b", "<s> c"), tokenizer, Data(path="here", length=4), [])["train"]
    begin = tokenizer.bos_token_id
    assert [row.count(begin) for row in examples["input_ids"]] == [1]


@pytest.mark.parametrize("tokenizer", ["fresh", "gpt2"])
def test_a_tokenizer_that_begins_no_text_gives_the_same_examples_as_ever(tokenizer):
    sentences = ["the cat sat", "a dog ran far away", "one two three"] * 20
    made = train_tokenizer(FreshTokenizer(vocab_size=300), sentences)
    if tokenizer == "gpt2":  # has one and does not use it, as SmolLM2's
        made = GPT2Tokenizer(vocab=made.get_vocab(), merges=[], bos_token=END_OF_TEXT, eos_token=END_OF_TEXT)
    rows = dict.fromkeys(("train", "validation", "test"), Dataset.from_dict({"text": sentences}))
    examples = TASKS["causal_lm"].prepare(rows, made, Data(path="here", length=8), [])["train"]
    ids = [token for text in sentences for token in [*made(text, add_special_tokens=False)["input_ids"], made.eos_token_id]]
    assert [token for row in examples["input_ids"] for token in row] == ids[: len(ids) // 8 * 8]
    assert examples["labels"][:] == examples["input_ids"][:]


def test_a_classified_text_is_cut_and_padded_in_its_batch():
    task, tokenizer = TASKS["sequence_classification"], tiny_tokenizer()
    examples = task.prepare(texts("abcdef", "ab"), tokenizer, Data(path="here", length=4), ["LABEL_0", "LABEL_1"])
    batch = task.collator(tokenizer)([examples["test"][0], examples["test"][1]])
    assert batch["input_ids"].shape == (2, 4) and batch["labels"].tolist() == [0, 1]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]


def test_padding_does_not_change_what_is_measured():
    task, tokenizer = TASKS["sequence_classification"], tiny_tokenizer()
    rows = texts("a", "abc def ghi", "the end", "b")
    examples = task.prepare(rows, tokenizer, Data(path="here", length=16), ["LABEL_0", "LABEL_1"])["test"]
    measured = [task.evaluate(tiny_bert(num_labels=2), examples, tokenizer, size, "x") for size in (1, 4)]
    assert measured[0] == pytest.approx(measured[1], rel=1e-5)


def test_images_are_read_when_a_batch_is(tmp_path):
    data = Data(path=str(write_images(tmp_path / "data.parquet")))
    processor = load_image_processor(FreshModel(config={"model_type": "vit"}), tiny_vit().config)
    task = TASKS["image_classification"]
    examples = task.prepare(load_splits(data, 0), processor, data, ["dark", "light"])
    batch = task.collator(processor)([examples["train"][index] for index in range(3)])
    assert batch["pixel_values"].shape == (3, 3, 8, 8) and set(batch["labels"].tolist()) <= {0, 1}


def test_the_dense_stage_has_its_own_values_and_folder():
    given, dense = {"output_dir": "out", "seed": 1, "max_steps": 5}, Dense(training={"max_steps": 9})
    task = TASKS["image_classification"]
    assert given.items() <= task.training_mapping(given).items()
    mapping = {**task.training_mapping(given), **dense.stage(given)}
    assert (mapping["output_dir"], mapping["seed"], mapping["max_steps"]) == ("out/dense-training", 1, 9)
    assert mapping["remove_unused_columns"] is False


def test_a_text_shorter_than_a_block_is_refused():
    with pytest.raises(CompressionError, match="the train split has fewer than 100 tokens"):
        TASKS["causal_lm"].prepare(texts("abc", "de"), tiny_tokenizer(), Data(path="here", length=100), [])
