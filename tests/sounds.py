"""Small sounds."""

import io
import wave

import numpy


def sine(rate, hertz=440.0, seconds=1.0, loudness=0.5):
    """(N,) fp32."""
    return (loudness * numpy.sin(2 * numpy.pi * hertz * numpy.arange(int(rate * seconds)) / rate)).astype(numpy.float32)


def wav(samples, rate, bits=16, channels=1):
    """The bytes of a wav file, the same in every channel."""
    numbers = numpy.round(numpy.asarray(samples, dtype=numpy.float64) * (2 ** (bits - 1) - 1)).astype(numpy.int64)
    numbers = numpy.repeat(numbers + (128 if bits == 8 else 0), channels)
    content = numbers.astype("<i8").view(numpy.uint8).reshape(-1, 8)[:, : bits // 8].tobytes()
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(channels)
        out.setsampwidth(bits // 8)
        out.setframerate(rate)
        out.writeframes(content)
    return file.getvalue()
