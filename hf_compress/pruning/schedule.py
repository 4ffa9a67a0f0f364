"""The contract of a sparsity schedule."""

from dataclasses import dataclass

from hf_compress._errors import CompressionError
from hf_compress._registry import Strategy
from hf_compress._units import Point, check_point, check_sparsity, resolve_point


@dataclass(frozen=True, kw_only=True)
class Schedule(Strategy, kind="schedule", package="hf_compress.pruning.schedules"):
    """Sparsity as a pure function of the optimizer steps done.

    Attributes:
        final: the sparsity from `end` on, in [0, 1).
        initial: the sparsity that the way begins with at `begin`, in [0, final].
        begin: before this point nothing is pruned.
        end: from this point on the sparsity is exactly `final`.
        every: between the two the sparsity moves on every `every`-th step after `begin`; masks stand still in between.
    """

    final: float = 0.5
    initial: float = 0.0
    begin: Point = "0%"
    end: Point = "50%"
    every: int = 10

    def __post_init__(self) -> None:
        check_sparsity(self.final, "final")
        check_sparsity(self.initial, "initial")
        if self.initial > self.final:
            raise CompressionError(
                f"initial={self.initial:g} is above final={self.final:g}, and sparsity never falls; swap them, or leave"
                " initial out to begin with 0"
            )
        check_point(self.begin, "begin")
        check_point(self.end, "end")
        if isinstance(self.every, bool) or not isinstance(self.every, int) or self.every < 1:
            raise CompressionError(f"every={self.every!r} is not a number of steps; write 1 or more")
        if type(self.begin) is type(self.end) and resolve_point(self.begin, 10**6) > resolve_point(self.end, 10**6):
            raise CompressionError(f"begin={self.begin!r} is after end={self.end!r}; swap them")

    def check(self, max_steps: int) -> None:
        """Refuse a schedule that does not fit into a run of `max_steps` optimizer steps.

        Raises:
            CompressionError: it ends after training, or begins after it ends.
        """
        begin, end = resolve_point(self.begin, max_steps), resolve_point(self.end, max_steps)
        if end > max_steps:
            raise CompressionError(
                f"the pruning schedule ends at step {end}, but training has {max_steps} steps, so the model would never"
                f" reach sparsity {self.final:g}; set end to at most {max_steps}, or to a share such as '50%'"
            )
        if begin > end:
            raise CompressionError(f"the pruning schedule begins at step {begin}, after its end at step {end}; swap them")

    def sparsity(self, step: int, max_steps: int) -> float:
        """The sparsity after `step` optimizer steps of `max_steps`; 0 before `begin`, `final` from `end` on.

        In between initial + (final - initial) * progress.
        """
        reached = self.reached(step, max_steps)
        if reached is None or reached == 1.0:
            return 0.0 if reached is None else self.final
        return self.initial + (self.final - self.initial) * reached

    def reached(self, step: int, max_steps: int) -> float | None:
        """The share of the way that is behind after `step` steps, in [0, 1]; None before `begin`."""
        begin, end = resolve_point(self.begin, max_steps), resolve_point(self.end, max_steps)
        if step >= end:
            return 1.0
        if step < begin:
            return None
        held = (step - begin) // self.every * self.every
        return self.progress(held / (end - begin))

    def progress(self, fraction: float) -> float:
        """The share of the way from `initial` to `final` that is behind at `fraction` in [0, 1) of the time."""
        raise TypeError(f"{type(self).__name__} defines no progress()")
