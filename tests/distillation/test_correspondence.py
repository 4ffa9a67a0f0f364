import logging

import pytest

from hf_compress import CompressionError
from hf_compress.distillation.correspondence import correspondence, tokenizer_at
from tests.tiny import tiny_bert, tiny_llama, tiny_tokenizer


def language(student, teacher, *tokenizers):
    configs = tiny_llama(vocab_size=student).config, tiny_llama(vocab_size=teacher).config
    return correspondence(*configs, classes="tokens", tokenizers=tokenizers or (None, None))


def other_tokenizer():
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["another"])
    return tokenizer


def labels(student, teacher):
    models = tiny_bert(num_labels=len(student)), tiny_bert(num_labels=len(teacher))
    for model, names in zip(models, (student, teacher), strict=True):
        model.config.id2label = dict(enumerate(names))
    return correspondence(models[0].config, models[1].config, classes="labels")


def test_paddings_of_one_tokenizer_are_cut_to_the_common_ids_and_the_log_says_so(caplog):
    with caplog.at_level(logging.INFO):
        assert language(72, 64, tiny_tokenizer(), tiny_tokenizer()).common == 64
        assert language(64, 72, tiny_tokenizer(), tiny_tokenizer()).common == 64
    assert "padded to 72 ids for the student and 64 for the teacher: the first 64 are compared" in caplog.text
    assert language(64, 64, tiny_tokenizer(), tiny_tokenizer()).common is None


def test_other_tokenizers_are_refused_also_at_equal_sizes():
    with pytest.raises(CompressionError, match="'another' has none for the student and id 5"):
        language(64, 64, tiny_tokenizer(), other_tokenizer())


def test_other_sizes_are_refused_where_nothing_shows_that_they_are_padding():
    with pytest.raises(
        CompressionError, match="vocabulary of 72 and the student one of 64.*; paddings of one tokenizer are cut"
    ):
        language(64, 72)
    with pytest.raises(
        CompressionError, match="vocabulary of 20 and the student one of 64; .* with the student's tokenizer$"
    ):
        language(64, 20, tiny_tokenizer(), tiny_tokenizer())


def test_labels_in_another_order_have_a_column_each():
    assert labels(["good", "bad", "so"], ["bad", "so", "good"]).columns == (2, 0, 1)
    assert labels(["good", "bad"], ["good", "bad"]).columns is None
    assert labels(["good", "bad"], ["LABEL_0", "LABEL_1"]).columns is None


def test_other_labels_and_other_numbers_of_labels_are_refused():
    with pytest.raises(CompressionError, match="label 1 is 'bad' for the student and the teacher knows 'good', 'worse'"):
        labels(["good", "bad"], ["good", "worse"])
    with pytest.raises(CompressionError, match="3 labels and the student 2"):
        labels(["a", "b"], ["a", "b", "c"])


def test_a_language_models_unused_labels_say_nothing():
    configs = tiny_llama().config, tiny_llama(num_labels=5).config
    assert correspondence(*configs, classes="tokens").columns is None


def test_tokenizers_are_found_beside_a_model(tmp_path):
    tiny_tokenizer().save_pretrained(tmp_path)
    assert tokenizer_at(str(tmp_path), local_only=True).get_vocab() == tiny_tokenizer().get_vocab()
    assert tokenizer_at(str(tmp_path / "nothing"), local_only=True) is None and tokenizer_at("", local_only=True) is None
