"""One processor that makes what every member reads."""

import numpy as np
import pytest
import torch
from transformers import DataCollatorWithPadding

from hf_compress import CompressionError
from hf_compress.ensembling.modelling.processors import EnsembleTokenizer, group_processors, joined_processor
from hf_compress.ensembling.modelling.several import EnsembleFeatureExtractor, EnsembleImageProcessor
from tests.ensembling.folders import images, lower_tokenizer, sounds
from tests.tiny import tiny_tokenizer


@pytest.fixture
def joined():
    return joined_processor([tiny_tokenizer(), lower_tokenizer()])


def test_each_tokenizer_makes_its_own_inputs_of_the_same_text(joined):
    made = joined(["ab Z", "hello."], padding=True, return_tensors="pt")
    for number, tokenizer in enumerate((tiny_tokenizer(), lower_tokenizer())):
        for key, value in tokenizer(["ab Z", "hello."], padding=True, return_tensors="pt").items():
            assert torch.equal(made[f"{key}_{number}" if number else key], value)


def test_rows_are_padded_by_the_tokenizer_that_made_them(joined):
    rows = [dict(joined(text)) for text in ("ab", "hello.")]
    batch = DataCollatorWithPadding(joined)(rows)
    whole = joined(["ab", "hello."], padding=True, return_tensors="pt")
    assert batch.keys() == whole.keys()
    assert all(torch.equal(batch[key], whole[key]) for key in whole)


def test_it_is_the_same_when_loaded_again(joined, tmp_path):
    joined.save_pretrained(tmp_path)
    again = EnsembleTokenizer.from_pretrained(tmp_path)
    assert again("Hello a.").data == joined("Hello a.").data
    assert again.pad_token == "<pad>" and again.decode([4, 5]) == joined.decode([4, 5])


def test_equal_processors_are_one_group():
    different, groups = group_processors([tiny_tokenizer(), lower_tokenizer(), tiny_tokenizer()], ["a", "b", "c"])
    assert groups == [0, 1, 0] and len(different) == 2


def test_a_member_without_a_tokenizer_among_others_is_named():
    with pytest.raises(CompressionError, match="member 'b' has no tokenizer"):
        group_processors([tiny_tokenizer(), None], ["a", "b"])


def test_images_are_prepared_for_each_member(tmp_path):
    _, processors = images(sizes=(8, 9))
    made = joined_processor(processors)
    made.save_pretrained(tmp_path)
    picture = np.random.default_rng(0).integers(0, 255, (12, 10, 3), dtype=np.uint8)
    for one in (made, EnsembleImageProcessor.from_pretrained(tmp_path)):
        batch = one(picture, return_tensors="pt")
        assert torch.equal(batch["pixel_values"], processors[0](picture, return_tensors="pt")["pixel_values"])
        assert torch.equal(batch["pixel_values_1"], processors[1](picture, return_tensors="pt")["pixel_values"])
        assert not torch.equal(batch["pixel_values"], batch["pixel_values_1"])


def test_sound_is_prepared_for_each_member(tmp_path):
    from transformers import Wav2Vec2FeatureExtractor

    processors = [Wav2Vec2FeatureExtractor(), Wav2Vec2FeatureExtractor(do_normalize=False)]
    made = joined_processor(processors)
    made.save_pretrained(tmp_path)
    wave = np.random.default_rng(0).normal(size=400).astype(np.float32)
    batch = EnsembleFeatureExtractor.from_pretrained(tmp_path)(wave, sampling_rate=16000, return_tensors="np")
    for number, processor in enumerate(processors):
        expected = processor(wave, sampling_rate=16000, return_tensors="np")["input_values"]
        np.testing.assert_array_equal(batch["input_values_1" if number else "input_values"], expected)


def test_sounds_are_padded_by_the_extractor_that_prepared_them():
    from transformers import Wav2Vec2FeatureExtractor

    processors = [
        Wav2Vec2FeatureExtractor(padding_value=0.5),
        Wav2Vec2FeatureExtractor(do_normalize=False, return_attention_mask=True),
    ]
    made = joined_processor(processors)
    waves = [np.random.default_rng(seed).normal(size=400 + seed).astype(np.float32) for seed in range(3)]
    rows = [{name: values[0] for name, values in made(wave, sampling_rate=16000).items()} for wave in waves]
    batch = DataCollatorWithPadding(made)([{**row, "label": k} for k, row in enumerate(rows)])
    assert batch["labels"].tolist() == [0, 1, 2]
    for number, processor in enumerate(processors):
        alone = [{name: values[0] for name, values in processor(wave, sampling_rate=16000).items()} for wave in waves]
        for key, values in processor.pad(alone, padding=True, return_tensors="pt").items():
            assert torch.equal(batch[f"{key}_{number}" if number else key], values)
    assert batch["input_values"][0, -1] == 0.5 and batch["attention_mask_1"].sum(1).tolist() == [400, 401, 402]
    with pytest.raises(CompressionError, match="the rows lack input_values_1, which its feature extractor 1 makes"):
        made.pad([{"input_values": rows[0]["input_values"]}])


def test_other_sampling_rates_are_refused():
    _, processors = sounds(rates=(16000, 8000))
    with pytest.raises(CompressionError, match="8000, 16000 Hz"):
        joined_processor(processors)


def test_a_tokenizer_and_an_image_processor_are_refused():
    with pytest.raises(CompressionError, match="one kind"):
        joined_processor([tiny_tokenizer(), images()[1][0]])
