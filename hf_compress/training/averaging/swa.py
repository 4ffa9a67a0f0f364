"""Stochastic weight averaging."""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor
from torch.optim.swa_utils import get_swa_multi_avg_fn

from hf_compress._registry import Reference
from hf_compress._units import Point
from hf_compress.training.averaging.callback import AveragingCallback


@dataclass(kw_only=True, eq=False)
class SWA(AveragingCallback):
    """The mean of the weights at `begin`, `begin + every`, `begin + 2 * every`, ...: a_n = a_{n-1} + (w_n - a_{n-1}) / n.

    What makes the points worth averaging is the learning rate, which is the Trainer's: constant and high, or cyclic with
    `every` one cycle, so that every point is the end of one. A schedule that has decayed to nothing gives equal points.
    Models with BatchNorm need `update_batch_norm` afterwards.

    Source: Izmailov et al. 2018, algorithm 1, which starts from the weights at `begin` as well.
    """

    begin: Point = "75%"
    every: Point = "1%"
    name: str = "swa"

    reference: ClassVar[Reference] = Reference(
        authors="Izmailov, Podoprikhin, Garipov, Vetrov, Wilson",
        title="Averaging weights leads to wider optima and better generalization",
        year=2018,
        link="https://arxiv.org/abs/1803.05407",
        equation="algorithm 1",
    )

    def move(self, averages: list[Tensor], currents: list[Tensor], num_points: int) -> None:
        """Point number `num_points + 1`."""
        get_swa_multi_avg_fn()(averages, currents, num_points)

    def formula(self) -> dict[str, Any]:
        """What the numbers depend on."""
        return {"method": "swa"}
