"""Exponential moving average."""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from hf_compress._errors import CompressionError
from hf_compress._registry import Reference
from hf_compress.training.averaging.callback import AveragingCallback


@dataclass(kw_only=True, eq=False)
class EMA(AveragingCallback):
    """a_t = d_t * a_{t-1} + (1 - d_t) * w_t, with a_0 = w_0 and d_t = min(decay, (1 + t) / (10 + t)).

    w_0 are the weights at `begin`, w_t those `t * every` steps later. The growing decay keeps a_t from remembering its
    arbitrary start; without `warmup` d_t is `decay` throughout. `decay` is per update: with every=10, d**10 does about what
    d does in each step.

    Attributes:
        decay: in [0, 1); the average looks back about 1 / (1 - decay) updates.
        warmup: let the decay grow.

    Source: Polyak and Juditsky 1992 for averaging the iterates; Tarvainen and Valpola 2017, section 2, for the exponential
    form and a smaller decay at the start; the ramp (1 + t) / (10 + t) is that of TensorFlow's ExponentialMovingAverage.
    """

    decay: float = 0.999
    warmup: bool = True
    name: str = "ema"

    reference: ClassVar[Reference] = Reference(
        authors="Tarvainen, Valpola",
        title="Mean teachers are better role models: weight-averaged consistency targets improve semi-supervised deep"
        " learning results",
        year=2017,
        link="https://arxiv.org/abs/1703.01780",
        equation="section 2",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.decay, int | float) or not 0 <= self.decay < 1:
            raise CompressionError(f"decay={self.decay!r} lies outside [0, 1); usual values are 0.99 to 0.9999")

    def decay_at(self, t: int) -> float:
        """The decay of update `t`, counted from 1."""
        return min(self.decay, (1 + t) / (10 + t)) if self.warmup else self.decay

    def move(self, averages: list[Tensor], currents: list[Tensor], num_points: int) -> None:
        """The `num_points` points so far are a_0 to a_{num_points - 1}."""
        get_ema_multi_avg_fn(self.decay_at(num_points))(averages, currents, num_points)

    def formula(self) -> dict[str, Any]:
        """What the numbers depend on."""
        return {"method": "ema", "decay": self.decay, "warmup": self.warmup}
