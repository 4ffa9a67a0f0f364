"""Models, tokenizers and image processors from a folder, the Hub, or fresh."""

import copy
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from hf_compress._errors import CompressionError, reason_of
from hf_compress._model_size import bounded_modules, check_shapes
from hf_compress._problems import Problem, RecipeError
from hf_compress._registry import unknown
from hf_compress.inputs.paths import expand
from hf_compress.inputs.sections import FreshModel, FreshTokenizer

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

END_OF_TEXT = "<|endoftext|>"
END_OF_TEXT_ID = 0
"""Of a fresh tokenizer: special tokens come before the bytes."""


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


def check_keys(model: FreshModel, decided: Iterable[str]) -> None:
    """Refuse an unknown architecture, keys that its config does not have, and keys that are not the recipe's to set.

    Args:
        model: a config.
        decided: the keys that follow from data and tokenizer.

    Raises:
        RecipeError: with every key at once.
    """
    from transformers import CONFIG_MAPPING, AutoConfig

    fields = dict(model.config)
    model_type = fields.pop("model_type")
    if model_type not in CONFIG_MAPPING:
        message = unknown("architecture", model_type, CONFIG_MAPPING).split(" (known")[0]
        raise RecipeError([Problem(path="model.config.model_type", message=message)])
    try:
        known = set(AutoConfig.for_model(model_type).to_dict()) | {"vocab_size", "num_labels"}
    except Exception as error:  # architectures made of others have no config of their own
        message = f"{model_type} has no default config to start from: {reason_of(error)}"
        raise RecipeError([Problem(path="model.config.model_type", message=message)]) from error
    messages = {
        key: unknown(f"key of a {model_type} config", str(key), known).split(" (known:")[0]
        for key in fields
        if key not in known
    }
    messages |= {key: "the data and tokenizer decide this; leave it out" for key in decided if key in fields}
    if messages:
        raise RecipeError([Problem(path=f"model.config.{key}", message=text) for key, text in messages.items()])


def require_architecture(auto_class: Any, config: "PretrainedConfig", key: str) -> None:
    """Refuse a config of an architecture that has no model of the kind.

    Raises:
        CompressionError: at `key`.
    """
    if type(config) not in auto_class._model_mapping:
        raise CompressionError(
            f"{key}: {config.model_type} has no {auto_class.__name__}; name a model of another architecture"
        )


def load_model(auto_class: Any, model: str | FreshModel, config: "PretrainedConfig", seed: int) -> "PreTrainedModel":
    """The model with fp32 weights, ready to train; fresh weights follow from `seed`.

    It gets a config of its own: a cast of one model would otherwise be the type in which the next one draws its weights.

    Raises:
        CompressionError: the weights are missing or do not fit.
    """
    import torch
    from transformers import set_seed

    set_seed(seed)
    config = copy.deepcopy(config)
    if isinstance(model, str):
        return from_pretrained(auto_class, model, "model", config=config, dtype=torch.float32)
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


def load_tokenizer(model: str) -> Any:
    """The tokenizer of a folder or Hub id, with a padding token.

    Raises:
        CompressionError: there is none, or it has no vocabulary or no token to pad with.
    """
    from transformers import AutoTokenizer

    folder = expand(model, "tokenizer")
    if folder.is_dir() and not any(file for part in ("token", "vocab", ".model") for file in folder.glob(f"*{part}*")):
        raise CompressionError(
            f"tokenizer: the folder {model} holds none; save it there with save_pretrained, or name another"
        )
    tokenizer = from_pretrained(AutoTokenizer, model, "tokenizer")
    if set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens):
        raise CompressionError(
            f"tokenizer: {model} holds no vocabulary; save the tokenizer there, or name another with `tokenizer:`"
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    if tokenizer.pad_token is None:
        raise CompressionError(
            f"tokenizer: that of {model} has neither a padding nor an end token; add one and save it again"
        )
    return tokenizer


def train_tokenizer(fresh: FreshTokenizer, texts: Iterable[str]) -> Any:
    """A byte-level BPE tokenizer trained on `texts`; the same texts give the same tokenizer."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=fresh.vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    return wrap_tokenizer(backend)


def wrap_tokenizer(backend: Any) -> Any:
    """A trained backend as transformers uses it; one special token starts, ends and pads."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token=END_OF_TEXT, bos_token=END_OF_TEXT, pad_token=END_OF_TEXT
    )


def load_image_processor(model: str | FreshModel, config: "PretrainedConfig") -> Any:
    """The image processor of a model; for a fresh one the architecture's default at the config's image size."""
    from transformers import AutoImageProcessor

    if isinstance(model, str):
        return from_pretrained(AutoImageProcessor, model, "model", backend="pil")
    from transformers import IMAGE_PROCESSOR_MAPPING

    classes: Any = IMAGE_PROCESSOR_MAPPING.get(type(config), None) or {}
    cls = classes.get("pil")
    if cls is None:
        raise CompressionError(
            f"model.config.model_type: {config.model_type} has no image processor, so it reads no images"
        )
    size = getattr(config, "image_size", None)
    if size is None:
        return cls()
    height, width = (size, size) if isinstance(size, int) else size
    return cls(size={"height": height, "width": width})


def from_pretrained(auto_class: Any, name: str, key: str, **arguments: Any) -> Any:
    """`auto_class.from_pretrained`, refused in one sentence; code in checkpoints is never run.

    Args:
        auto_class: an Auto class of transformers.
        name: a folder or Hub id.
        key: what the refusal names.
        **arguments: passed on.

    Raises:
        CompressionError: there is nothing by that name, or it does not load.
    """
    path = expand(name, key)
    if path.is_file():
        raise CompressionError(f"{key}: {name} is a file; name the folder that holds it")
    if not path.is_dir() and (name.startswith((".", "/", "~")) or name.count("/") > 1 or not name):
        raise CompressionError(f"{key}: there is no folder {name!r}; name a folder written by save_pretrained, or a Hub id")
    try:
        return auto_class.from_pretrained(str(path) if path.is_dir() else name, trust_remote_code=False, **arguments)
    except Exception as error:  # files, formats and the Hub client each raise their own kind
        where = "" if path.is_dir() else " is no local folder and"
        raise CompressionError(f"{key}: {name}{where} cannot be loaded: {reason_of(error)}") from error
