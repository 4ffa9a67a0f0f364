"""A vocabulary of the characters of texts."""

import pytest

from hf_compress import CompressionError
from hf_compress.inputs.spelling import character_tokenizer


def test_characters_are_sorted_behind_blank_unknown_and_space_and_read_back():
    tokenizer = character_tokenizer(["no so", "on"])
    assert tokenizer.get_vocab() == {"<pad>": 0, "<unk>": 1, "|": 2, "n": 3, "o": 4, "s": 5}
    assert tokenizer("no xso").input_ids == [3, 4, 2, 1, 5, 4] and tokenizer.pad_token_id == 0
    assert tokenizer.decode([3, 3, 0, 4, 0, 4, 2, 2, 5, 0]) == "noo s"


def test_the_space_is_written_as_no_character_of_the_texts():
    assert character_tokenizer(["a|b c"]).word_delimiter_token == "▁"
    assert character_tokenizer(["a|b c"])("a|b c").input_ids[3] == 2
    with pytest.raises(CompressionError, match="none can stand for the space"):
        character_tokenizer(["|▁␣"])
