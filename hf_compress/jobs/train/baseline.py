"""The dense model that a run written in Python is compared with: which one it is, and whether it can be."""

import copy
import logging
from collections.abc import Callable
from typing import Any

import torch
from transformers import PreTrainedModel

from hf_compress._errors import CompressionError, reason_of
from hf_compress._modules.plain_model import is_adapted, is_quantized
from hf_compress._paths import local_folder
from hf_compress._sharding.contract import original_class
from hf_compress.checkpoints.location import is_hub_id
from hf_compress.training.whole_model import in_one_process

logger = logging.getLogger(__name__)


def dense_models(trainer: Any, baseline: str | PreTrainedModel | None) -> Callable[[], PreTrainedModel] | None:
    """Makes the dense model anew each time it is called; None where nobody knows it any more."""
    cls = original_class(trainer.model)
    given = trainer.frozen_copy if baseline is None else baseline
    if isinstance(given, PreTrainedModel):
        given = in_one_process(given, trainer.args.output_dir)
    if given is None:
        logger.warning("the dense weights are gone, so nothing is compared with them; pass save_result(..., baseline=...)")
        return None
    if isinstance(given, PreTrainedModel):
        _check_baseline(given, trainer.model)
        return lambda: copy.deepcopy(given).float()

    def load() -> PreTrainedModel:
        loaded: Any = cls.from_pretrained(given, dtype=torch.float32, output_loading_info=True, trust_remote_code=False)
        if loaded[1]["missing_keys"]:
            raise CompressionError(
                f"the dense model {given} has no {sorted(loaded[1]['missing_keys'])[0]}, so it was not trained for the task"
                f" of {cls.__name__}; pass the one that was as baseline=..."
            )
        _check_baseline(loaded[0], trainer.model)
        return loaded[0]  # type: ignore[no-any-return]

    try:
        load()
    except CompressionError:
        raise
    except (OSError, ValueError) as error:
        reason = reason_of(error)
        raise CompressionError(f"the dense model {given} cannot be loaded as {cls.__name__}: {reason}") from error
    return load


def _check_baseline(dense: PreTrainedModel, trained: PreTrainedModel) -> None:
    """Refuse what is not the dense model; it would be the report's first row."""
    own = {id(parameter) for parameter in trained.parameters()}
    if any(id(parameter) in own for parameter in dense.parameters()):
        raise CompressionError(
            "baseline is the model that was trained, so it would be compared with itself; pass the folder it was loaded"
            " from, or a copy from before the training (copy.deepcopy(model))"
        )
    if not isinstance(dense, original_class(trained)):
        raise CompressionError(
            f"baseline is a {type(dense).__name__} and the trained model a {type(trained).__name__}; pass the dense model"
            " of that class"
        )
    if is_quantized(dense) or is_adapted(dense):
        raise CompressionError("baseline is quantized or carries adapters, so it is not the dense model; pass that one")


def with_settings_of(trained: PreTrainedModel, model: PreTrainedModel) -> PreTrainedModel:
    """All rows generate alike, by the settings that the result is written with."""
    if getattr(model, "generation_config", None) is not None:
        model.generation_config = copy.deepcopy(trained.generation_config)
    return model


def origin_of(baseline: str | PreTrainedModel | None) -> str | None:
    """The dense model's Hub id; folders of the user's machine are nobody's business."""
    name = baseline if isinstance(baseline, str) else None
    return name if name is not None and is_hub_id(name) and local_folder(name) is None else None
