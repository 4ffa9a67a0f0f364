"""What training does with the projections of distillation losses: optimizer, gradients, checkpoints."""

import logging
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from hf_compress._errors import CompressionError
from hf_compress.distillation.projections import Projections
from hf_compress.training.distillation_step import DistillationStep

logger = logging.getLogger(__name__)

_Host: Any = object
"""The mixin stands before a Trainer class: `class MyTrainer(CompressionMixin, SFTTrainer)`."""


class TrainsProjections(_Host):
    """The part of the mixin for `projections`; without any everything is the host's."""

    _own_loss: Any = None

    @property
    def projections(self) -> Projections | None:
        """The trained parts of the distillation's losses, in no model and in no result; None without a teacher."""
        step: DistillationStep | None = getattr(self._own_loss, "distillation", None)
        return None if step is None else step.projections

    def create_optimizer(self, *args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        """The host's, with a group for the projections: the run's learning rate, weight decay by the host's rule.

        Raises:
            CompressionError: the optimizer or its schedule cannot take another group.
        """
        optimizer: torch.optim.Optimizer = super().create_optimizer(*args, **kwargs)
        if self.projections:
            self.projections.modules.zero_grad()  # a training that was broken off leaves gradients behind
            add_to_optimizer(self, optimizer, self.projections.modules)
        return optimizer

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        """The host's; around it the projections' gradients are cleared and shared where the host does it for the model."""
        if not self.projections:
            return super().training_step(*args, **kwargs)
        self.projections.begin()
        loss = super().training_step(*args, **kwargs)
        if self.accelerator.sync_gradients:
            self.projections.end()
        return loss

    def _clip_grad_norm(self, model: nn.Module) -> Any:
        """One norm over model and projections."""
        return super()._clip_grad_norm(nn.ModuleList([model, self.projections.modules]) if self.projections else model)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """Checkpoints have the projections in a file of their own; what is saved as the result has none."""
        super()._save(output_dir, state_dict)
        folder = Path(output_dir or self.args.output_dir)
        if self.projections and self.args.should_save and folder.name.startswith(f"{PREFIX_CHECKPOINT_DIR}-"):
            self.projections.save(folder)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        """The projections come back with the model."""
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        if self.projections:
            self.projections.load(Path(resume_from_checkpoint))


def add_to_optimizer(trainer: Any, optimizer: Any, modules: nn.Module) -> None:
    """Two groups, with and without weight decay, unless the parameters are there already.

    Raises:
        CompressionError: see `TrainsProjections.create_optimizer`.
    """
    known = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    parameters = {name: one for name, one in modules.named_parameters() if one.requires_grad}
    if not parameters or any(id(one) in known for one in parameters.values()):
        return
    layerwise = "Dummy" in type(optimizer).__name__
    if layerwise or not isinstance(optimizer, torch.optim.Optimizer):
        raise CompressionError(
            f"{trainer.args.optim} updates the model's weights one by one and would leave the losses' projections as they"
            " are; take another optim"
        )
    if trainer.lr_scheduler is not None:
        raise CompressionError(
            "the learning rate's schedule was made before the losses' projections joined the optimizer; pass"
            " optimizers=(optimizer, None) and choose the schedule by lr_scheduler_type"
        )
    decayed = set(trainer.get_decay_parameter_names(modules))
    for names, decay in (
        ([name for name in parameters if name in decayed], trainer.args.weight_decay),
        ([name for name in parameters if name not in decayed], 0.0),
    ):
        if names:
            optimizer.add_param_group({"params": [parameters[name] for name in names], "weight_decay": decay})
    logger.info("%d tensors of the losses' projections are trained with the model", len(parameters))
