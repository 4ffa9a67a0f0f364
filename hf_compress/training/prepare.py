"""A model before its training: the teacher is loaded, and the modules are made ready for pruning and quantization."""

from typing import Any

from torch import nn

from hf_compress._modules.ignored import say_unmatched
from hf_compress._once import saying_once
from hf_compress._sharding.contract import loading_whole
from hf_compress.pruning.masks import Masks
from hf_compress.pruning.merge_adapter import check_merge
from hf_compress.quantization.qat import prepare
from hf_compress.quantization.storage_type import check_before_training
from hf_compress.training.compatibility import check_projections
from hf_compress.training.distillation_step import DistillationStep


def prepare_model(trainer: Any, model: nn.Module) -> DistillationStep | None:
    """Teacher first (it copies the model as it is), then the modules.

    Args:
        trainer: with its compression.
        model: the student that it will train.

    Returns:
        The step of a run with a teacher, else None.

    Raises:
        CompressionError: targets match nothing, or the teacher does not fit.
    """
    with loading_whole():
        return _prepared(trainer, model)


def _prepared(trainer: Any, model: nn.Module) -> DistillationStep | None:
    wanted = trainer.compression
    step = None if wanted.distillation is None else DistillationStep(wanted.distillation, model, trainer)
    if step is not None:
        check_projections(trainer, step.projections)
    if wanted.pruning is not None:
        check_merge(model)
        Masks(model, wanted.pruning)
    if wanted.quantization is not None:
        prepare(model, wanted.quantization, enabled=False)
        check_before_training(model, wanted.quantization)
    with saying_once(trainer.said):
        for name, technique in wanted:
            say_unmatched(model, getattr(technique, "ignore", ()), name)
    return step
