"""Pruned weights at zero behind every optimizer step, at the price of a pass over them where it takes one."""

import torch
from torch import nn

from hf_compress._sharding.contract import is_sharded
from hf_compress.pruning.masks import Masks

_LEAVE_ZEROS: tuple[type[torch.optim.Optimizer], ...] = (torch.optim.AdamW, torch.optim.Adam, torch.optim.SGD)
"""Optimizers that go through entries one by one, and whose step of an entry with gradient 0, state 0 and value 0 is 0:
moments of zeros stay zero, and so does what a decay takes of them. These very classes, as a subclass may do more."""


class StandingZeros:
    """Sets pruned weights to zero behind a step, unless they cannot have moved.

    They cannot where masks stand still, the gradients of pruned weights were set to zero before the step, as they have been
    in every step since the optimizer's state of them was, and the optimizer leaves an entry alone that is zero in all of
    these. Sharded models are looked at after every step, as what they hold is not all that the optimizer changes.

    Args:
        model: in training; None before.
    """

    def __init__(self, model: nn.Module | None) -> None:
        self._whole = model is not None and not is_sharded(model)
        self._stands = False

    def hold(self, masks: Masks, optimizer: torch.optim.Optimizer, moved: bool) -> None:
        """Right behind an optimizer step.

        Args:
            masks: of the model.
            optimizer: that took the step, or accelerate's wrapper around it.
            moved: the masks are not those of the step before.
        """
        inner = getattr(optimizer, "optimizer", optimizer)
        trusted = self._whole and type(inner) in _LEAVE_ZEROS
        if moved or (trusted and not self._stands):
            masks.apply_to_optimizer(optimizer)
        if moved or not (trusted and self._stands and masks.gradients_masked):
            masks.apply()
        self._stands, masks.gradients_masked = trusted, False
