"""Blocks of documents, as the model takes them."""

import pytest
from datasets import Dataset
from tokenizers import pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, GPT2Tokenizer, LlamaConfig

from hf_compress._errors import CompressionError
from hf_compress._problems import RecipeError
from hf_compress.inputs.fresh import END_OF_TEXT, train_tokenizer
from hf_compress.inputs.sections import FreshTokenizer
from hf_compress.tasks.builtin.causal_lm import CausalLM
from tests.tiny import tiny_llama, tiny_tokenizer


def texts(*values):
    return dict.fromkeys(("train", "validation", "test"), Dataset.from_dict({"text": values}))


def test_blocks_by_hand():
    tokenizer = tiny_tokenizer()
    examples = CausalLM(length=3).examples(texts("abc", "de"), tokenizer, [])
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
    examples = CausalLM(length=4).examples(texts("abc", "d"), tokenizer, [])["train"]
    begin, a, b, c, d, end = (tokenizer.convert_tokens_to_ids(token) for token in ["<s>", *"abcd", "</s>"])
    assert tokenizer("abc")["input_ids"] == [begin, a, b, c]
    assert examples["input_ids"][:] == [[begin, a, b, c], [end, begin, d, end]]
    assert examples["labels"][:] == [[-100, a, b, c], [end, -100, d, end]]  # nothing has to predict a beginning


def test_a_beginning_that_the_text_brought_is_not_doubled():
    tokenizer = that_begins_texts(tiny_tokenizer())
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    examples = CausalLM(length=4).examples(texts("<s> a b", "<s> c"), tokenizer, [])["train"]
    begin = tokenizer.bos_token_id
    assert [row.count(begin) for row in examples["input_ids"]] == [1]


@pytest.mark.parametrize("tokenizer", ["fresh", "gpt2"])
def test_a_tokenizer_that_begins_no_text_gives_the_same_examples_as_ever(tokenizer):
    sentences = ["the cat sat", "a dog ran far away", "one two three"] * 20
    made = train_tokenizer(FreshTokenizer(vocab_size=300), sentences)
    if tokenizer == "gpt2":  # has one and does not use it, as SmolLM2's
        made = GPT2Tokenizer(vocab=made.get_vocab(), merges=[], bos_token=END_OF_TEXT, eos_token=END_OF_TEXT)
    rows = dict.fromkeys(("train", "validation", "test"), Dataset.from_dict({"text": sentences}))
    examples = CausalLM(length=8).examples(rows, made, [])["train"]
    ids = [token for text in sentences for token in [*made(text, add_special_tokens=False)["input_ids"], made.eos_token_id]]
    assert [token for row in examples["input_ids"] for token in row] == ids[: len(ids) // 8 * 8]
    assert examples["labels"][:] == examples["input_ids"][:]


def test_a_text_shorter_than_a_block_is_refused():
    with pytest.raises(CompressionError, match="the train split has fewer than 100 tokens"):
        CausalLM(length=100).examples(texts("abc", "de"), tiny_tokenizer(), [])


def test_a_block_has_two_tokens_at_least():
    with pytest.raises(CompressionError, match="length=1 is too short: the first token of a block predicts the second"):
        CausalLM(length=1)
    with pytest.raises(CompressionError, match="length=0 must be 1 or more"):
        CausalLM(length=0)


def test_an_encoder_and_a_tokenizer_that_is_too_large_are_both_refused():
    with pytest.raises(RecipeError) as refusal:
        CausalLM().check_config(BertConfig(vocab_size=20), tiny_tokenizer())
    assert [problem.path for problem in refusal.value.problems] == ["model", "tokenizer"]
    CausalLM().check_config(BertConfig(vocab_size=64, is_decoder=True), tiny_tokenizer())
    CausalLM().check_config(LlamaConfig(vocab_size=64), None)


def test_blocks_longer_than_the_positions_are_refused():
    CausalLM(length=64).check_model(tiny_llama())
    with pytest.raises(CompressionError, match="task.length: 65 tokens are more than the model's 64 positions"):
        CausalLM(length=65).check_model(tiny_llama())
