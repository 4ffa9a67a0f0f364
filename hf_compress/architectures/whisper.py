"""Whisper."""

from dataclasses import dataclass
from typing import ClassVar

from hf_compress.architectures.bart import Bart


@dataclass(frozen=True, kw_only=True)
class Whisper(Bart, name="whisper"):
    """BART that hears: convolutions before the encoder, norms before the parts."""

    norms_before: ClassVar[bool] = True
