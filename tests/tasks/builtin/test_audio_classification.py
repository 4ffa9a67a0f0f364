"""Sounds with one label each."""

import numpy
import pytest
import torch
from datasets import Dataset, Features, List, Value
from transformers import AutoConfig, Wav2Vec2FeatureExtractor

from hf_compress._errors import CompressionError
from hf_compress.inputs.processors import load_feature_extractor
from hf_compress.inputs.sections import Data, FreshModel
from hf_compress.tasks.builtin.audio_classification import AudioClassification
from tests.sounds import sine, wav
from tests.tiny import tiny_hearer

DATA = Data(path="here")
LENGTHS = (0.02, 0.3, 0.5, 0.28, 0.41)


def sounds(lengths=LENGTHS, rate=16000, form=lambda samples, rate, place: wav(samples, rate), feature=None):
    rows = {
        "audio": [form(sine(rate, 200.0 * (1 + place), seconds), rate, place) for place, seconds in enumerate(lengths)],
        "label": [("low", "high")[place % 2] for place in range(len(lengths))],
    }
    features = Features({"audio": Value("binary") if feature is None else feature, "label": Value("string")})
    return dict.fromkeys(("train", "validation", "test"), Dataset.from_dict(rows, features=features))


def batch_of(task, splits, extractor, places=range(5)):
    examples = task.examples(splits, extractor, ["high", "low"])["test"]
    return task.collator(extractor)([examples[place] for place in places])


@pytest.mark.parametrize("norm", ["layer", "group"])
def test_what_is_heard_of_a_sound_does_not_depend_on_the_batch(norm):
    model = tiny_hearer(num_labels=2, feat_extract_norm=norm, do_stable_layer_norm=norm == "layer").eval()
    extractor = load_feature_extractor(FreshModel(config={"model_type": "wav2vec2"}), model.config)
    assert extractor.return_attention_mask is (norm == "layer")
    task, splits = AudioClassification(), sounds()
    together = batch_of(task, splits, extractor)
    assert together["input_values"].shape == (5, 8000) and ("attention_mask" in together) is (norm == "layer")
    assert together["labels"].tolist() == [1, 0, 1, 0, 1]
    with torch.no_grad():
        alone = [model(**batch_of(task, splits, extractor, [place])).logits[0] for place in range(5)]
        torch.testing.assert_close(model(**together).logits, torch.stack(alone), rtol=1e-4, atol=1e-5)
    examples = task.examples(splits, extractor, ["high", "low"])["test"]
    measured = [task.evaluate(model, examples, None, extractor, size, "x") for size in (1, 2, 5)]
    assert measured[0] == pytest.approx(measured[1], rel=1e-4) and measured[0] == pytest.approx(measured[2], rel=1e-4)


def test_a_batch_is_what_the_feature_extractor_makes_of_the_sounds_and_is_never_too_short_for_it():
    extractor = Wav2Vec2FeatureExtractor(return_attention_mask=True)
    batch = batch_of(AudioClassification(), sounds(), extractor, [1, 3])
    theirs = extractor(
        [read(sine(16000, 400.0, 0.3)), read(sine(16000, 800.0, 0.28))],
        sampling_rate=16000,
        padding=True,
        return_tensors="pt",
    )
    torch.testing.assert_close(batch["input_values"], theirs["input_values"])
    assert torch.equal(batch["attention_mask"], theirs["attention_mask"])
    shortest = batch_of(AudioClassification(), sounds(), extractor, [0])
    assert shortest["input_values"].shape == (1, 4000) and int(shortest["attention_mask"].sum()) == 320


def read(samples):
    """As 16 bits keep them."""
    return numpy.round(samples * (2**15 - 1)).astype(numpy.float32) / 2**15


def test_paths_bytes_and_arrays_at_other_rates_are_heard_alike(tmp_path):
    extractor = Wav2Vec2FeatureExtractor(return_attention_mask=True)
    expected = batch_of(AudioClassification(), sounds(rate=8000), extractor)
    assert expected["input_values"].shape == (5, 8000)

    def path(samples, rate, place):
        file = tmp_path / f"{place}.wav"
        file.write_bytes(wav(samples, rate))
        return str(file)

    def array(samples, rate, place):
        return {"array": read(samples), "sampling_rate": rate}

    numbers = {"array": List(Value("float32")), "sampling_rate": Value("int64")}
    for form, feature in ((path, Value("string")), (array, numbers)):
        batch = batch_of(AudioClassification(), sounds(rate=8000, form=form, feature=feature), extractor)
        torch.testing.assert_close(batch["input_values"], expected["input_values"], rtol=1e-4, atol=1e-4)


def test_sounds_are_cut_where_the_task_or_the_model_says_so_and_it_is_said():
    extractor, splits = Wav2Vec2FeatureExtractor(return_attention_mask=True), sounds()
    cut = AudioClassification(max_seconds=0.3)
    assert batch_of(cut, splits, extractor)["input_values"].shape == (5, 4800)
    said = "2 of 5 train rows, 2 of 5 validation rows, 2 of 5 test rows"
    assert cut.describe(splits, extractor)["sounds cut at 0.3 s"] == said
    assert AudioClassification(max_seconds=0.5).describe(splits, extractor)["sounds cut at 0.5 s"] == "none"
    assert set(AudioClassification().describe(splits, extractor)) == {"sound"}
    with pytest.raises(CompressionError, match="max_seconds=0.0 must be more than 0"):
        AudioClassification(max_seconds=0.0)


@pytest.mark.parametrize(
    ("config", "shape", "seconds"),
    [
        ({"model_type": "audio-spectrogram-transformer", "max_length": 32, "num_mel_bins": 16}, (5, 32, 16), "0.32"),
        ({"model_type": "whisper", "max_source_positions": 50, "num_mel_bins": 8, "encoder_layers": 1}, (5, 8, 100), "1"),
    ],
)
def test_fresh_models_get_an_extractor_of_their_size(config, shape, seconds):
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    whisper = {"d_model": 16, "encoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_layers": 1}
    sizes = whisper if config["model_type"] == "whisper" else small
    made = AutoConfig.for_model(**config, **sizes, num_labels=2)
    extractor, task = load_feature_extractor(FreshModel(config=config), made), AudioClassification()
    batch, facts = batch_of(task, sounds(), extractor), task.describe(sounds(), extractor)
    name = extractor.model_input_names[0]
    assert batch[name].shape == shape and f"sounds cut at {seconds} s" in facts
    assert task.model_class().from_config(made)(**batch).logits.shape == (5, 2)


def test_whisper_hears_whole_seconds():
    config = AutoConfig.for_model("whisper", max_source_positions=60)
    with pytest.raises(CompressionError, match="60 positions of 20 ms are no whole seconds; take a multiple of 50"):
        load_feature_extractor(FreshModel(config={"model_type": "whisper"}), config)


def test_sound_that_cannot_be_decoded_or_is_empty_or_has_no_rate_is_refused_by_its_row():
    good = wav(sine(16000, 200.0, 0.1), 16000)
    for bad, words in ((b"RIFF no sound", "cannot be decoded"), (wav([], 16000), "is empty")):
        splits = {"train": Dataset.from_dict({"audio": [good, bad], "label": ["a", "b"]})}
        with pytest.raises(CompressionError, match=f"task.audio: row 1 .counted from 0. of the train split {words}"):
            AudioClassification().check_data(splits, DATA)
    rows = {"audio": [{"array": [0.0], "sampling_rate": 0}], "label": ["a"]}
    with pytest.raises(CompressionError, match="task.audio: row 0 .* has the sampling rate 0, which is no whole"):
        AudioClassification().check_data({"train": Dataset.from_dict(rows)}, DATA)


def test_masks_in_time_that_are_longer_than_a_sound_are_refused():
    extractor, splits = Wav2Vec2FeatureExtractor(), sounds()
    usual = {"conv_kernel": (10, 3, 3, 3, 3, 2, 2), "conv_stride": (5, 2, 2, 2, 2, 2, 2), "conv_dim": (8,) * 7}
    model = tiny_hearer(**usual, num_feat_extract_layers=7, apply_spec_augment=True)
    assert AudioClassification().fit_rows(splits, model, extractor) is splits  # a quarter of a second has 12 frames
    model.config.mask_time_length = 13
    with pytest.raises(
        CompressionError, match="mask_time_length: 13 frames are masked at a time, and the shortest .* has 12"
    ):
        AudioClassification().fit_rows(splits, model, extractor)
