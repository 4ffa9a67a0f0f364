"""Sound from paths, bytes and arrays; against a sine that is known at every rate, and with and without soundfile."""

import sys

import numpy
import pytest
import soundfile
from datasets import Audio, Dataset, List, Value

from hf_compress import CompressionError
from hf_compress.inputs.audio import Sound, is_sound, read_audio, read_header, undecoded
from tests.sounds import sine, wav


@pytest.mark.parametrize("library", ["soundfile", "wave"])
@pytest.mark.parametrize("bits", [8, 16, 24, 32])
def test_a_wav_file_is_its_samples_with_and_without_soundfile(library, bits, monkeypatch, tmp_path):
    content = wav(sine(8000), 8000, bits)
    (tmp_path / "a.wav").write_bytes(content)
    if library == "wave":
        monkeypatch.setitem(sys.modules, "soundfile", None)
    for value in (content, str(tmp_path / "a.wav"), {"bytes": content, "path": None}, {"path": str(tmp_path / "a.wav")}):
        samples = read_audio(value, 8000)
        assert samples.dtype == numpy.float32
        numpy.testing.assert_allclose(samples, sine(8000), atol=2.0 ** (1 - bits) + 1e-6)
        assert read_header(value) == Sound(rate=8000, num_samples=8000)


@pytest.mark.parametrize("rate", [16000, 11025, 4000])
def test_another_rate_is_resampled(rate):
    samples = read_audio({"array": sine(8000), "sampling_rate": 8000.0}, rate)
    assert len(samples) == rate
    edge = rate // 20  # the filter sees silence before the beginning and behind the end
    numpy.testing.assert_allclose(samples[edge:-edge], sine(rate)[edge:-edge], atol=5e-3)


def test_channels_are_averaged_however_they_lie():
    left, right = sine(8000), numpy.zeros(8000, dtype=numpy.float32)
    for both in (numpy.stack([left, right]), numpy.stack([left, right], axis=1)):
        numpy.testing.assert_allclose(
            read_audio({"array": both.tolist(), "sampling_rate": 8000}, 8000), left / 2, atol=1e-6
        )
    numpy.testing.assert_allclose(read_audio(wav(left, 8000, channels=2), 8000), left, atol=1e-4)


def test_flac_is_read(tmp_path):
    soundfile.write(tmp_path / "a.flac", sine(8000), 8000)
    numpy.testing.assert_allclose(read_audio(str(tmp_path / "a.flac"), 8000), sine(8000), atol=1e-4)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (b"RIFFnothing", "cannot be decoded[^<]*$"),
        ("no/such/file.wav", "cannot be decoded: there is no file no/such/file.wav"),
        ({"array": [0.0, 0.1]}, "has no sampling rate"),
        ({"array": [0.0, 0.1], "sampling_rate": None}, "has no sampling rate; give {array, sampling_rate: 16000}"),
        ({"array": [0.0, 0.1], "sampling_rate": 0}, "has the sampling rate 0, which is no whole number of samples"),
        ({"array": [0.0, 0.1], "sampling_rate": "16k"}, "has the sampling rate '16k', which is no whole number"),
        ({"array": [0.0, 0.1], "sampling_rate": 0.5}, "has the sampling rate 0.5, which is no whole number"),
        ({"array": [0.0, float("nan")], "sampling_rate": 8000}, "has a sample that is no number"),
        ({"array": [0.0, float("inf")], "sampling_rate": 8000}, "has a sample that is no number"),
        ({"array": [[0.0, 0.1], [0.0]], "sampling_rate": 8000}, "has an array that cannot be read: "),
        ({"bytes": None, "path": None}, "has neither a path nor bytes nor an array"),
    ],
)
@pytest.mark.parametrize("read", [lambda value: read_audio(value, 8000), read_header])
@pytest.mark.parametrize("library", ["soundfile", "wave"])
def test_what_is_no_sound_is_refused(value, words, read, library, monkeypatch):
    if library == "wave":
        monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(CompressionError, match=words):
        read(value)


def test_a_column_of_audio_is_read_without_a_decoder():
    content = wav(sine(8000), 8000)
    rows = Dataset.from_dict({"audio": [{"bytes": content, "path": None}]}).cast_column("audio", Audio())
    value = undecoded(rows, "audio")[0]["audio"]
    assert read_header(value) == Sound(rate=8000, num_samples=8000)
    plain = Dataset.from_dict({"audio": ["a.wav"]})
    assert undecoded(plain, "audio") is plain


def test_what_may_hold_sound():
    numbers, text = List(Value("float32")), Value("string")
    for feature in (text, Value("binary"), {"bytes": Value("binary"), "path": text}, {"array": numbers}):
        assert is_sound(feature)
    for feature in (numbers, Value("float32"), {"x": text}, {"array": text}):
        assert not is_sound(feature)
