"""How long a run has trained, the parts before an interruption included."""

import time
from collections.abc import Mapping
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class TrainingClock(TrainerCallback):
    """Wall time of training; what a checkpoint says is gone on from.

    Evaluations and saves on the way count, as in the Trainer's `train_runtime`. What was lost between the last checkpoint
    and an interruption does not: its steps are trained again.
    """

    def __init__(self) -> None:
        self._before: float | None = 0.0
        self._resumed = False
        self._began: float | None = None
        self._ended: float | None = None

    def go_on_from(self, known: Mapping[str, Any] | None) -> None:
        """The next training, or none, follows as many seconds as a checkpoint says; None where it says nothing."""
        self._before, self._resumed = (known or {}).get("train_s"), True
        self._began = self._ended = None

    def seconds(self) -> float | None:
        """All parts so far; None where one is unknown."""
        if self._before is None:
            return None
        if self._began is None:
            return self._before
        return self._before + (time.perf_counter() if self._ended is None else self._ended) - self._began

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """A training that goes on from no checkpoint starts at 0."""
        if not self._resumed:
            self._before = 0.0
        self._resumed = False
        self._began, self._ended = time.perf_counter(), None

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """What follows is no training."""
        self._ended = time.perf_counter()
