"""The end of a compressed training: what was promised is checked, and the model is handed over once."""

import logging
from pathlib import Path
from typing import Any

from torch import nn
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, HubStrategy

from hf_compress import _distributed
from hf_compress._errors import CompressionError
from hf_compress._modules.finite import check_finite
from hf_compress._modules.plain_model import is_adapted
from hf_compress._modules.types import cast_as_loaded
from hf_compress._safetensors import weight_files
from hf_compress._sharding.contract import is_sharded
from hf_compress.checkpoints.load_back import load_back
from hf_compress.pruning.merge_adapter import merge_and_keep_zeros
from hf_compress.quantization.qat import convert
from hf_compress.quantization.storage_type import check_storage_type
from hf_compress.training.adapted import adapters_back
from hf_compress.training.whole_model import in_one_process

logger = logging.getLogger(__name__)


def finalize_model(trainer: Any, dtype: str) -> nn.Module:
    """See `CompressionMixin.finalize`; everything is checked before anything is changed.

    A sharded model is put together in the first process, which goes on alone; the others have it without memory.
    """
    model = trainer.model
    if model is None:
        raise CompressionError(
            "there is no trained model: hyperparameter_search gives the models of its trials away; set the best trial's"
            " values in args and call train()"
        )
    if trainer.finalized_model is model:
        raise CompressionError(
            "the model is already finalized; save it with save_compressed (with quantization) or save_dense, or load the"
            " last checkpoint to train on"
        )
    check_finite(model, dtype)  # NaN where a zero should be is NaN first
    trainer.progress.check(model, trainer.state)
    quantization = trainer.compression.quantization
    if trainer.compression.pruning is not None and is_adapted(model):
        trainer.model = model = merge_and_keep_zeros(model).model
        trainer.progress.forget()
    sharded = is_sharded(model)
    model = in_one_process(model, trainer.args.output_dir)

    def finish() -> None:
        target = check_storage_type(model, quantization, dtype)
        if target is not None:
            cast_as_loaded(model, target)
        if quantization is not None:
            convert(model)

    if sharded:
        _distributed.first_alone(finish)
        trainer.model = model
        trainer.progress.forget()
    else:
        finish()
    trainer.finalized_model, trainer.finalized_dtype = model, dtype
    return model  # type: ignore[no-any-return]


def refuse_finalized(model: Any, done: bool) -> None:
    """Refuse to train a model that is finished: its quantized forward has no gradient, and pruned weights would move.

    Args:
        model: about to be trained.
        done: it is the one that the trainer finalized.

    Raises:
        CompressionError: it is finalized.
    """
    if done or getattr(getattr(model, "hf_quantizer", None), "is_ours", False):
        raise CompressionError(
            "the model is finalized, and training it on would undo what finalize() checked and run without quantization;"
            " load a checkpoint of the training, or the dense model, to train on"
        )


def before_training(trainer: Any) -> None:
    """Refuse to train a finalized model; say that pushes meanwhile hold the dense one.

    Raises:
        CompressionError: the model is finalized.
    """
    if trainer.model_init is None:
        done = trainer.finalized_model is not None and trainer.finalized_model is trainer.model
        refuse_finalized(trainer.model, done)
    if trainer.compression.edits_weights and trainer.args.push_to_hub and trainer.args.hub_strategy != HubStrategy.END:
        logger.warning(
            "pushes during training (hub_strategy=%s) hold the dense weights of the moment; call finalize() and"
            " push_to_hub() at the end for the compressed model",
            trainer.args.hub_strategy.value,
        )


def after_saving(trainer: Any, folder: Path) -> None:
    """What `save_model` has just written is said where it is not the compressed model, and loaded back where it is.

    Checkpoints of the training are dense by design and need no word.

    Raises:
        CompressionError: the finalized model does not load from the folder; its weights are removed again.
    """
    if trainer.finalized_model is trainer.model:
        if _distributed.world_size() > 1:
            logger.warning(
                "%s was written and not loaded back, because several processes are alive; load it before publishing it",
                folder,
            )
        elif is_adapted(trainer.model):
            adapters_back(trainer.model, folder)
        elif hasattr(trainer.model, "save_pretrained"):
            try:
                load_back(trainer.model, folder)
            except CompressionError:
                for file in weight_files(folder):
                    file.unlink()
                raise
    elif _is_on_the_way(trainer) and not folder.name.startswith(PREFIX_CHECKPOINT_DIR):
        logger.warning(
            "%s holds the dense weights of step %d of %d: call finalize() and save again for the compressed model",
            folder,
            trainer.state.global_step,
            trainer.state.max_steps,
        )
    elif (
        trainer.compression.pruning is not None
        and is_adapted(trainer.model)
        and not folder.name.startswith(PREFIX_CHECKPOINT_DIR)
    ):
        logger.warning(
            "%s holds the adapter alone, and the base that it belongs to is pruned: call finalize() and save again for the"
            " merged model",
            folder,
        )


def _is_on_the_way(trainer: Any) -> bool:
    """The weights are not yet what was asked for: quantization is never in them, zeros are when the schedule ended."""
    return trainer.compression.quantization is not None or (
        trainer.compression.pruning is not None and not trainer.compression_is_complete()
    )
