"""A run that is told to go (SIGTERM: a preempted job) writes a checkpoint first."""

import contextlib
import logging
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import SaveStrategy

from hf_compress import _distributed
from hf_compress._errors import Terminated

logger = logging.getLogger(__name__)


class Preemption(TrainerCallback):
    """Stops at the end of the step in which SIGTERM arrived at any process, with a checkpoint of that step.

        with preemption.heard():
            trainer.train()

    Schedulers tell every process, or one, and not at the same moment; so where several train, they agree after each step,
    in a group of their own over gloo, which waits for no accelerator.
    """

    def __init__(self) -> None:
        self._told = False
        self._stopped = False
        self._group: Any = None

    @contextlib.contextmanager
    def heard(self) -> Iterator[None]:
        """Listens inside the block, in the main thread.

        Raises:
            Terminated: at the end of the block, where SIGTERM arrived inside.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGTERM, self._tell)
        try:
            yield
        except Exception as error:
            if self._told or self._stopped:  # data loaders and other processes were told too, and may be gone already
                raise Terminated from error
            raise
        finally:
            signal.signal(signal.SIGTERM, before)
        if self._told or self._stopped:
            raise Terminated

    def _tell(self, number: int, frame: FrameType | None) -> None:
        self._told = True

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Every process joins the group."""
        if _distributed.world_size() > 1 and self._group is None:
            self._group = torch.distributed.new_group(backend="gloo")

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Asks for the checkpoint and for the end."""
        if not self._anybody_told():
            return
        if control.should_evaluate and args.save_strategy == SaveStrategy.BEST:
            return  # the evaluation would take the wish back; the next step ends soon
        logger.info("told to end: writing a checkpoint of step %d", state.global_step)
        self._stopped = control.should_save = control.should_training_stop = True

    def _anybody_told(self) -> bool:
        if self._group is None:
            return self._told
        told = torch.tensor([int(self._told)])
        torch.distributed.all_reduce(told, torch.distributed.ReduceOp.MAX, group=self._group)
        return bool(told)
