"""The union of tokenizers."""

import json

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from hf_compress._errors import CompressionError
from hf_compress.merging.members.tokenizers import kind, tokenizer_in, union
from tests.merging.checkpoints import bpe_tokenizer, word_tokenizer


def test_the_first_keeps_its_ids_and_new_words_follow_before_new_added_tokens():
    first = word_tokenizer(["a", "b"], added=["<x>"])
    other = word_tokenizer(["b", "c"], added=["<y>", "<x>"])
    both = union({"base": first, "other": other})
    assert both.get_vocab() == {
        "<pad>": 0,
        "<s>": 1,
        "</s>": 2,
        "<unk>": 3,
        "a": 4,
        "b": 5,
        "<x>": 6,
        "c": 7,
        "<y>": 8,
    }
    assert both("a b c <x> <y>")["input_ids"] == [4, 5, 7, 6, 8]
    assert both.decode([8], skip_special_tokens=True) == ""  # an added token keeps its setting: special


def test_the_given_tokenizers_are_left_alone():
    first, other = word_tokenizer(["a"]), word_tokenizer(["b"], added=["<y>"])
    before = first.get_vocab(), other.get_vocab()
    union({"base": first, "other": other})
    assert (first.get_vocab(), other.get_vocab()) == before


def test_merge_rules_of_another_come_behind_the_own():
    first = bpe_tokenizer("abc", [("a", "b")])
    other = bpe_tokenizer("abcd", [("b", "c"), ("ab", "c"), ("c", "d"), ("a", "b")][:1] + [("c", "d")])
    both = union({"base": first, "other": other})
    # "abc": the first's rule a+b wins over the other's b+c, as in its own tokenizer; "cd" is only the other's.
    assert both.tokenize("abc") == first.tokenize("abc") == ["ab", "c"]
    assert both.tokenize("cd") == other.tokenize("cd") == ["cd"]
    assert both.tokenize("bc") == ["bc"]
    # A piece is no added token: it does not cut a word apart that it stands in by chance.
    assert both.tokenize("abcd") == ["ab", "cd"]


def test_an_added_token_of_the_first_keeps_its_id_when_pieces_are_appended(tmp_path):
    first = bpe_tokenizer("ab", [("a", "b")], added=["<x>"])
    both = union({"base": first, "other": bpe_tokenizer("abc", [("b", "c")])})
    both.save_pretrained(tmp_path)
    reloaded = tokenizer_in(tmp_path)
    assert reloaded.get_vocab() == both.get_vocab()
    assert reloaded.get_vocab()["<x>"] == first.get_vocab()["<x>"] == 7
    assert reloaded("ab<x>")["input_ids"] == first("ab<x>")["input_ids"]


def _trained(text, size):
    """A byte-level BPE tokenizer trained on a text, with one special token behind its pieces."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(
        [text], trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    tokenizer.add_special_tokens({"eos_token": "<end>"})
    return tokenizer


def test_two_trained_byte_level_tokenizers_unite_without_losing_text():
    english, german = "the other weather is rather nice there " * 20, "der andere Wärter wäre später dort über " * 20
    first, other = _trained(english, 290), _trained(german, 290)
    both = union({"base": first, "other": other})
    assert set(both.get_vocab()) == set(first.get_vocab()) | set(other.get_vocab())
    for text in (english, german, "Wärter <end> other über", "日本 the"):
        ids = both(text)["input_ids"]
        assert both.decode(ids) == text
        assert len(ids) <= len(first(text)["input_ids"])
    assert both("the<end>")["input_ids"] == first("the<end>")["input_ids"]
    assert both.eos_token_id == first.eos_token_id


def test_pieces_with_scores_are_appended_with_their_scores():
    def unigram(pieces):
        backend = Tokenizer(models.Unigram([("<unk>", 0.0), *pieces], unk_id=0))
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")
        tokenizer.add_special_tokens({"eos_token": "</s>"})
        return tokenizer

    first = unigram([("a", -2.0), ("b", -2.0), ("ab", -3.0)])
    both = union({"base": first, "other": unigram([("b", -2.0), ("c", -2.0), ("bc", -1.0)])})
    assert both.get_vocab() == {"<unk>": 0, "a": 1, "b": 2, "ab": 3, "</s>": 4, "c": 5, "bc": 6}
    # a + bc costs 3, ab + c costs 5.
    assert both("abc</s>")["input_ids"] == [1, 6, 4]


def test_tokenizers_of_different_kinds_are_refused():
    assert kind(word_tokenizer([])) == "WordLevel"
    with pytest.raises(CompressionError, match="of other is a BPE, that of base a WordLevel"):
        union({"base": word_tokenizer(["a"]), "other": bpe_tokenizer("ab", [("a", "b")])})


def test_another_normalization_is_said(caplog):
    first, other = word_tokenizer(["a"]), word_tokenizer(["B"])
    union({"base": first, "other": other})
    assert not caplog.records
    first.backend_tokenizer.normalizer = normalizers.Lowercase()
    both = union({"base": first, "other": other})
    assert "the tokenizer of other normalizes text otherwise than that of base" in caplog.text
    assert both("B")["input_ids"] == [both.unk_token_id]


def test_a_folder_without_a_tokenizer_has_none(tmp_path):
    assert tokenizer_in(tmp_path) is None


def test_damaged_files_are_refused_with_their_folder(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(CompressionError, match="cannot be loaded"):
        tokenizer_in(tmp_path)


def test_code_of_a_tokenizer_is_not_run_whatever_the_user_would_answer(tmp_path, monkeypatch):
    word_tokenizer([]).save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    settings |= {"tokenizer_class": "Mine", "auto_map": {"AutoTokenizer": ["mine.Mine", None]}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    (tmp_path / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    with pytest.raises(CompressionError, match="cannot be loaded"):
        tokenizer_in(tmp_path)
    assert not (tmp_path / "ran").exists()
