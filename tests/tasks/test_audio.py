"""Columns of sound, before a model hears them."""

from dataclasses import dataclass

import pytest
from datasets import Dataset
from transformers import Wav2Vec2FeatureExtractor

from hf_compress import CompressionError
from hf_compress._problems import RecipeError
from hf_compress.inputs.sections import Data
from hf_compress.tasks.audio import AudioTask, sampling_rate
from tests.sounds import sine, wav


@dataclass(frozen=True, kw_only=True)
class Hears(AudioTask):
    """Only hears."""


def splits(*values):
    return {"train": Dataset.from_dict({"audio": list(values)})}


def test_sounds_come_at_the_models_rate_and_are_described():
    task, extractor = Hears(), Wav2Vec2FeatureExtractor(sampling_rate=16000)
    given = splits(wav(sine(8000), 8000), wav(sine(8000, seconds=2), 8000))
    task.check_data(given, Data(path="here"))
    sounds = task.sounds(task.undecoded(given)["train"]["audio"], sampling_rate(extractor))
    assert [len(sound) for sound in sounds] == [16000, 32000]
    assert task.describe(given, extractor) == {"sound": "1.0 to 2.0 s, 0.1 min in all, 8,000 Hz, made 16,000 Hz"}
    assert task.training_defaults == {"remove_unused_columns": False}
    assert "before they are read" in task.refused_training({"remove_unused_columns": True})["remove_unused_columns"]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (b"no sound", "row 1 .counted from 0. of the train split cannot be decoded"),
        (wav([], 8000), "row 1 .counted from 0. of .* is empty"),
    ],
)
def test_a_sound_that_cannot_be_read_is_refused_with_its_row(value, words):
    with pytest.raises(CompressionError, match=f"task.audio: {words}"):
        Hears().check_data(splits(wav(sine(8000), 8000), value), Data(path="here"))


def test_every_split_with_a_sound_that_cannot_be_read_is_named():
    given = splits(wav([], 8000)) | {"test": splits(b"no sound")["train"]}
    with pytest.raises(RecipeError) as refusal:
        Hears().check_data(given, Data(path="here"))
    assert [problem.message[:44] for problem in refusal.value.problems] == [
        "row 0 (counted from 0) of the train split is",
        "row 0 (counted from 0) of the test split can",
    ]


def test_arrays_without_a_rate_are_refused():
    with pytest.raises(RecipeError, match="task.audio: column 'audio' .* holds List"):
        Hears().check_data(splits([0.0, 0.5]), Data(path="here"))
    with pytest.raises(CompressionError, match="row 0 .counted from 0. of the train split has no sampling rate"):
        Hears().check_data(splits({"array": [0.0, 0.5]}), Data(path="here"))
