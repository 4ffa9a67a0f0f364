"""The Trainer class that the mixin stands before: whose loss it is."""

from typing import Any

from transformers import Trainer

_MIXIN = "hf_compress.training.mixin"


def loss_owner(trainer: Any) -> type | None:
    """The class whose `compute_loss` the mixin would call, or replaces; of a Trainer without the mixin its own."""
    owners = [cls for cls in type(trainer).__mro__ if "compute_loss" in vars(cls)]
    behind = [cls.__module__ for cls in owners]
    return next(iter(owners[behind.index(_MIXIN) + 1 :] if _MIXIN in behind else owners), None)


def has_known_loss(trainer: Any) -> bool:
    """Whether distillation may stand in for the host's loss: Trainer's own, or that of TRL's SFTTrainer."""
    owner = loss_owner(trainer)
    return owner is None or owner is Trainer or (owner.__name__ == "SFTTrainer" and owner.__module__.startswith("trl."))


def loss_is_plain(trainer: Any) -> bool:
    """Whether the loss is the head's own: nothing overridden, no function, no smoothing."""
    return loss_owner(trainer) is Trainer and trainer.compute_loss_func is None and trainer.label_smoother is None
