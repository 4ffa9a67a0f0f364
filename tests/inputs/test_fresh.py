"""What a recipe's own config may say, and a tokenizer trained on its data."""

import pytest

from hf_compress._problems import RecipeError
from hf_compress.inputs.fresh import check_keys, train_tokenizer
from hf_compress.inputs.sections import FreshModel, FreshTokenizer
from tests.small import LLAMA, text_rows


def test_every_wrong_key_is_named_at_once():
    with pytest.raises(RecipeError) as refusal:
        check_keys(FreshModel(config={**LLAMA, "hiden_size": 1, "vocab_size": 9, "heads": 2}), ["vocab_size"])
    assert [problem.path for problem in refusal.value.problems] == [
        "model.config.hiden_size",
        "model.config.heads",
        "model.config.vocab_size",
    ]


def test_a_trained_tokenizer_reads_any_text_and_is_the_same_every_time():
    texts = [row["text"] for row in text_rows()]
    first, again = (train_tokenizer(FreshTokenizer(vocab_size=300), texts) for _ in range(2))
    assert len(first) == 300 and first.get_vocab() == again.get_vocab()
    for text in (texts[0], "größe ✓\n\ttab", " leading"):
        assert first.decode(first(text)["input_ids"]) == text
    assert first.eos_token_id == first.pad_token_id == 0
