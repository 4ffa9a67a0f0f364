"""Sound as models take it, read from paths, bytes or arrays: one channel, fp32, at the model's own rate."""

import io
import wave
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy

from hf_compress._errors import CompressionError, reason_of

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True, kw_only=True)
class Sound:
    """A header: how much sound there is.

    Attributes:
        rate: samples per second.
        num_samples: of one channel.
    """

    rate: int
    num_samples: int

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.num_samples / self.rate


def is_sound(feature: Any) -> bool:
    """Whether a column of this feature is read here, `datasets.Audio` apart.

    It holds paths, bytes, dicts with one of these, or dicts with numbers and their sampling rate.
    """
    from datasets import LargeList, List, Value

    if isinstance(feature, Value):
        return "string" in feature.dtype or "binary" in feature.dtype
    if not isinstance(feature, dict):
        return False
    if "array" in feature:
        return isinstance(feature["array"], List | LargeList)
    return any(is_sound(feature[key]) for key in ("bytes", "path") if key in feature)


def undecoded(split: "Dataset", column: str) -> "Dataset":
    """The split with a column of `datasets.Audio` as bytes and paths, which needs no decoder; any other as it is."""
    from datasets import Audio

    return split.cast_column(column, Audio(decode=False)) if isinstance(split.features[column], Audio) else split


def read_header(value: Any) -> Sound:
    """Rate and length, without the samples where the form of the sound says them.

    Args:
        value: see `read_audio`.

    Raises:
        CompressionError: it cannot be decoded, or has no sampling rate.
    """
    given = _given_array(value)
    if given is not None:
        return Sound(rate=given[1], num_samples=len(given[0]))
    try:
        import soundfile
    except ImportError:
        samples, rate = _read_wave(_stream(value))
        return Sound(rate=rate, num_samples=len(samples))
    stream = _stream(value)
    try:
        info = soundfile.info(stream)
    except (OSError, RuntimeError) as error:
        raise _undecodable(stream, error) from error
    return Sound(rate=int(info.samplerate), num_samples=int(info.frames))


def read_audio(value: Any, rate: int) -> numpy.ndarray:
    """The samples (N,) fp32 in [-1, 1], channels averaged, resampled to `rate` by a polyphase filter.

    Args:
        value: a path, the bytes of a file, {"bytes": ..., "path": ...}, or {"array": numbers, "sampling_rate": ...} with
            the array (N,), (N, channels) or (channels, N). Files are read by soundfile (wav, flac, ogg, mp3) or, without
            it, by the standard library (wav).
        rate: samples per second that the model takes.

    Raises:
        CompressionError: it cannot be decoded, or has no sampling rate.
    """
    given = _given_array(value)
    samples, own = given if given is not None else _read_file(value)
    if own == rate or not len(samples):
        return samples
    from scipy.signal import resample_poly

    ratio = Fraction(rate, own)
    return numpy.asarray(resample_poly(samples, ratio.numerator, ratio.denominator), dtype=numpy.float32)


def _given_array(value: Any) -> tuple[numpy.ndarray, int] | None:
    """Numbers that are decoded already, as one channel, and their rate; None for anything else."""
    if not isinstance(value, Mapping) or value.get("array") is None:
        return None
    rate = value.get("sampling_rate")
    if rate is None:
        raise CompressionError("has no sampling rate; give {array, sampling_rate: 16000}")
    if not isinstance(rate, int | float) or rate < 1 or rate != int(rate):
        raise CompressionError(
            f"has the sampling rate {rate!r}, which is no whole number of samples per second; write it as 16000"
        )
    try:
        samples = numpy.asarray(value["array"], dtype=numpy.float32)
    except ValueError as error:
        raise CompressionError(f"has an array that cannot be read: {reason_of(error)}") from error
    if not numpy.isfinite(samples).all():
        raise CompressionError("has a sample that is no number; remove the row")
    return _one_channel(samples), int(rate)


def _one_channel(samples: numpy.ndarray) -> numpy.ndarray:
    """(N,), (N, channels) or (channels, N) -> (N,); there are always more samples than channels."""
    if samples.ndim == 1:
        return samples
    return numpy.asarray(samples.mean(axis=int(numpy.argmin(samples.shape))), dtype=numpy.float32)


def _stream(value: Any) -> Any:
    """What a decoder opens.

    Raises:
        CompressionError: there is nothing, or no such file.
    """
    content = value
    if isinstance(value, Mapping):
        content = value.get("bytes")
        content = value.get("path") if content is None else content
    if isinstance(content, bytes | bytearray):
        return io.BytesIO(content)
    if not isinstance(content, str | Path) or not str(content):
        raise CompressionError("has neither a path nor bytes nor an array")
    if not Path(content).is_file():
        raise CompressionError(f"cannot be decoded: there is no file {content}")
    return str(content)


def _undecodable(stream: Any, error: Exception) -> CompressionError:
    """What soundfile says, which names a file, and of bytes only where they lie in memory."""
    reason = reason_of(error) if isinstance(stream, str) else getattr(error, "error_string", reason_of(error))
    return CompressionError(f"cannot be decoded: {reason.rstrip('.')}")


def _read_file(value: Any) -> tuple[numpy.ndarray, int]:
    stream = _stream(value)
    try:
        import soundfile
    except ImportError:
        return _read_wave(stream)
    try:
        samples, rate = soundfile.read(stream, dtype="float32", always_2d=True)
    except (OSError, RuntimeError) as error:
        raise _undecodable(stream, error) from error
    return samples.mean(axis=1), int(rate)


def _read_wave(stream: Any) -> tuple[numpy.ndarray, int]:
    """Integers in a wav file, 8 bits unsigned, more signed, by the standard library."""
    try:
        with wave.open(stream, "rb") as file:
            width, channels, rate = file.getsampwidth(), file.getnchannels(), file.getframerate()
            content = file.readframes(file.getnframes())
    except (wave.Error, EOFError, OSError) as error:
        raise CompressionError(
            f"cannot be decoded without soundfile: {reason_of(error)}; install hf-compress[audio]"
        ) from error
    if width == 3:  # as the upper bytes of 32 bits
        parts = numpy.frombuffer(content, dtype=numpy.uint8).reshape(-1, 3)
        numbers = numpy.pad(parts, ((0, 0), (1, 0))).copy().view("<i4").ravel()
    else:
        numbers = numpy.frombuffer(content, dtype={1: "u1", 2: "<i2", 4: "<i4"}[width])
    scale = 2.0 ** (8 * (4 if width == 3 else width) - 1)
    samples = (numbers.astype(numpy.float64) - (128 if width == 1 else 0)) / scale
    return samples.reshape(-1, channels).mean(axis=1).astype(numpy.float32), rate
