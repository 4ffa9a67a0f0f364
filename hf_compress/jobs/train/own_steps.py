"""A recipe's own frequencies in a Trainer that goes on as a checkpoint says."""

from typing import Any

from transformers import TrainerCallback


class OwnSteps(TrainerCallback):
    """Logs and saves as often as this recipe says; the Trainer goes on as the checkpoint says.

    Args:
        last: the step behind which it ends, with a checkpoint; None: that of its arguments.
    """

    def __init__(self, last: int | None) -> None:
        self.last = last

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Save and end behind the last one."""
        if state.global_step == self.last:
            control.should_save = control.should_training_stop = True

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """What the arguments say, and not the checkpoint."""
        state.compute_steps(args, state.max_steps)
