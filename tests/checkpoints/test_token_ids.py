"""Token ids in configs."""

import pytest

from hf_compress._errors import CompressionError
from hf_compress.checkpoints.token_ids import move_token_ids
from tests.merging.checkpoints import word_tokenizer

MOVED = {0: 0, 1: 1, 2: 7, 3: None, 4: 5, 5: None}


def test_every_kind_of_id_moves_and_everything_else_stays():
    data = {
        "eos_token_id": [2, 3],
        "bos_token_id": 1,
        "image_token_index": 4,
        "decoder_start_token_id": None,
        "suppress_tokens": [2, 5, 4],
        "bad_words_ids": [[2, 4], [5]],
        "forced_decoder_ids": [[1, None], [2, 2], [3, 5]],
        "sequence_bias": [[[2, 4], 0.5], [[5], 1.0]],
        "lang_to_id": {"<|de|>": 2, "<|en|>": 3},
        "task_to_id": {"translate": 4},
        "hidden_size": 2,
        "text_config": {"eos_token_id": 2, "num_layers": 4},
        "pad_token_id": 99,
    }
    assert move_token_ids(data, MOVED, word_tokenizer([]), "x") == {
        "eos_token_id": [7],
        "bos_token_id": 1,
        "image_token_index": 5,
        "decoder_start_token_id": None,
        "suppress_tokens": [7, 5],
        "bad_words_ids": [[7, 5]],
        "forced_decoder_ids": [[1, None], [2, 7]],
        "sequence_bias": [[[7, 5], 0.5]],
        "lang_to_id": {"<|de|>": 7},
        "task_to_id": {"translate": 5},
        "hidden_size": 2,
        "text_config": {"eos_token_id": 7, "num_layers": 4},
        "pad_token_id": 99,
    }
    assert data["text_config"]["eos_token_id"] == 2


def test_a_named_token_that_is_gone_becomes_the_one_of_the_tokenizer():
    moved = move_token_ids({"pad_token_id": 5, "eos_token_id": [3]}, MOVED, word_tokenizer([]), "x")
    assert moved == {"pad_token_id": 0, "eos_token_id": 2}


def test_another_token_that_is_gone_is_refused():
    with pytest.raises(
        CompressionError, match="x: decoder_start_token_id=5 names a token that the result's tokenizer lacks"
    ):
        move_token_ids({"decoder_start_token_id": 5}, MOVED, word_tokenizer([]), "x")


@pytest.mark.parametrize("key", ["forced_decoder_ids", "sequence_bias"])
def test_what_are_no_pairs_is_refused(key):
    with pytest.raises(CompressionError, match=rf"x: {key}=\[\[1\]\] is not a list of pairs; correct it, or remove it"):
        move_token_ids({key: [[1]]}, MOVED, word_tokenizer([]), "x")
