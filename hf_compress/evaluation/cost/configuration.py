"""How a model's cost is measured, as a value."""

from dataclasses import dataclass, field
from typing import Literal

from hf_compress._errors import CompressionError
from hf_compress._kinds import CheckedKinds
from hf_compress.evaluation.cost.rounds import FEWEST
from hf_compress.evaluation.cost.runtime import Runtime
from hf_compress.evaluation.cost.runtimes.eager import Eager
from hf_compress.inputs.sections import _positive

_MOST = 2**24


@dataclass(frozen=True, kw_only=True)
class Cost(metaclass=CheckedKinds):
    """What is timed, and how often.

    Attributes:
        batch: rows of a batch; each is measured with each length.
        length: tokens of a text, samples or frames of a sound; empty for 128, or for what the model's config fixes.
        runtimes: what computes: eager, compile, onnxruntime, openvino.
        rounds: that are measured; 6 or more, so that something can be said of them.
        warmup: rounds before.
        new_tokens: that a language model writes behind each batch, at least 2; 0 measures no decoding.
        device: cpu or cuda; None for an accelerator where there is one.
        dtype: "auto" (as the checkpoint is stored) or what transformers loads it in.
        memory: also load and run each model in a process of its own, for its peak memory.
    """

    batch: tuple[int, ...] = (1, 8)
    length: tuple[int, ...] = ()
    runtimes: tuple[Runtime, ...] = field(default_factory=lambda: (Eager(),))
    rounds: int = 20
    warmup: int = 3
    new_tokens: int = 32
    device: Literal["cpu", "cuda"] | None = None
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    memory: bool = True

    def __post_init__(self) -> None:
        for key in ("batch", "length"):
            values = getattr(self, key)
            for value in values:
                _positive(value, key)
                if value > _MOST:
                    raise CompressionError(f"{key}={value} is more than any machine runs; write at most {_MOST}")
            if len(set(values)) < len(values):
                raise CompressionError(f"{key}={list(values)} names a number twice; name each once")
        if any(one in self.runtimes[:place] for place, one in enumerate(self.runtimes)):
            raise CompressionError("runtimes names one twice; name each once")
        if not self.batch or not self.runtimes:
            raise CompressionError(f"{'batch' if not self.batch else 'runtimes'} is empty; name one or more")
        if self.rounds < FEWEST:
            raise CompressionError(f"rounds={self.rounds}: nothing can be said of so few; write {FEWEST} or more")
        if self.warmup < 0:
            raise CompressionError(f"warmup={self.warmup} must be 0 or more")
        if self.new_tokens < 0 or self.new_tokens == 1:
            raise CompressionError(
                f"new_tokens={self.new_tokens}: from one token to the next there are 2 at least; write 2 or more, or 0"
            )
