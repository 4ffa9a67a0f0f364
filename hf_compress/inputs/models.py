"""A recipe's model: its config, its weights, which of them are new, and its shapes without memory."""

import copy
from typing import TYPE_CHECKING, Any

from hf_compress._errors import CompressionError, reason_of
from hf_compress._model_size import bounded_modules, check_shapes
from hf_compress.inputs.auto_classes import classes_of
from hf_compress.inputs.pretrained import from_pretrained
from hf_compress.inputs.sections import FreshModel

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel


def load_config(model: str | FreshModel, changes: dict[str, Any]) -> "PretrainedConfig":
    """The config of a recipe's model.

    Args:
        model: a folder, a Hub id or a config with known keys.
        changes: what data and tokenizer decide (vocab_size, labels); set on top.

    Raises:
        CompressionError: the model is not there, or a value does not fit.
    """
    from transformers import AutoConfig

    if isinstance(model, str):
        return from_pretrained(AutoConfig, model, "model", **changes)
    try:
        return AutoConfig.for_model(**model.config, **changes)
    except Exception as error:  # each architecture refuses in its own way
        raise CompressionError(f"model.config: {reason_of(error)}") from error


def require_architecture(auto_class: Any, config: "PretrainedConfig", key: str) -> None:
    """Refuse a config of an architecture that has no model of the kind.

    Raises:
        CompressionError: at `key`.
    """
    if not classes_of(auto_class, config):
        raise CompressionError(
            f"{key}: {config.model_type} has no {auto_class.__name__}; name a model of another architecture"
        )


def load_model(
    auto_class: Any, model: str | FreshModel, config: "PretrainedConfig", seed: int, weights: bool = True
) -> "PreTrainedModel":
    """The model with fp32 weights, ready to train; fresh weights follow from `seed`.

    It gets a config of its own: a cast of one model would otherwise be the type in which the next one draws its weights.

    Args:
        auto_class: an Auto class of transformers.
        model: a folder, a Hub id or a config.
        config: the model's.
        seed: of fresh weights.
        weights: False for the same model without memory.

    Raises:
        CompressionError: the weights are missing or do not fit.
    """
    import torch
    from transformers import set_seed

    set_seed(seed)
    config = copy.deepcopy(config)
    if isinstance(model, str):
        place = {} if weights else {"device_map": "meta"}
        return from_pretrained(auto_class, model, "model", config=config, dtype=torch.float32, **place)
    if not weights:
        return skeleton(auto_class, config)
    return auto_class.from_config(config, dtype=torch.float32, trust_remote_code=False)  # type: ignore[no-any-return]


def new_weights(auto_class: Any, model: str, key: str, config: "PretrainedConfig | None" = None) -> list[str]:
    """Names of the tensors that the checkpoint does not have, such as a classification head yet to be trained.

    The weights stay on disk: the model is loaded without memory.

    Args:
        auto_class: an Auto class of transformers.
        model: a folder or Hub id.
        key: what a refusal names.
        config: used instead of the checkpoint's own.

    Raises:
        CompressionError: the checkpoint cannot be read or does not fit the config.
    """
    from transformers.utils import logging

    given = {} if config is None else {"config": config}
    level = logging.get_verbosity()
    logging.set_verbosity_error()  # it would print a table of what the caller is about to say in one sentence
    try:
        with bounded_modules():
            _, info = from_pretrained(
                auto_class, model, key, device_map="meta", output_loading_info=True, ignore_mismatched_sizes=True, **given
            )
    finally:
        logging.set_verbosity(level)
    if info["mismatched_keys"]:
        name, stored, expected = min(info["mismatched_keys"])
        raise CompressionError(
            f"{key}: {name} has the shape {tuple(stored)} in {model} and {tuple(expected)} by its config; the weights are"
            " of another config, save the two together"
        )
    return sorted(info["missing_keys"])


def skeleton(auto_class: Any, config: "PretrainedConfig") -> "PreTrainedModel":
    """The model without memory, for checking targets and shapes.

    Raises:
        CompressionError: the config's values do not make a model.
    """
    import torch

    try:
        with torch.device("meta"), bounded_modules():
            model: PreTrainedModel = auto_class.from_config(config, dtype=torch.float32, trust_remote_code=False)
    except Exception as error:  # each architecture refuses in its own way
        raise CompressionError(f"model: the config makes no {config.model_type} model: {reason_of(error)}") from error
    check_shapes(model, "model")
    return model


def num_positions(model: "PreTrainedModel") -> int | None:
    """How many tokens the longest sequence may have; None where the architecture sets no limit."""
    from torch import nn

    limit: int | None = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    for name, module in model.named_modules():
        # RoBERTa and its kin count positions from the one after the padding's.
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding) and module.padding_idx is not None:
            limit = module.num_embeddings - module.padding_idx - 1
    return limit if limit is not None and limit > 0 else None  # XLNet says -1 for no limit
