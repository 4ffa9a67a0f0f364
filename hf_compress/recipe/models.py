"""Models, tokenizers and image processors from a folder, the Hub, or fresh."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_compress._errors import CompressionError
from hf_compress._registry import unknown
from hf_compress.recipe.sections import FreshModel, FreshTokenizer

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

END_OF_TEXT = "<|endoftext|>"


def load_config(model: str | FreshModel, changes: dict[str, Any]) -> "PretrainedConfig":
    """The config of a recipe's model.

    Args:
        model: a folder, a Hub id or a config.
        changes: what data and tokenizer decide (vocab_size, labels); set on top.

    Raises:
        CompressionError: the model is not there, the architecture or a config key is unknown, a value does not fit.
    """
    from transformers import CONFIG_MAPPING, AutoConfig

    if isinstance(model, str):
        return _from_pretrained(AutoConfig, model, "model", **changes)
    fields = dict(model.config)
    model_type = fields.pop("model_type")
    if model_type not in CONFIG_MAPPING:
        raise CompressionError(
            f"model.config.model_type: {unknown('architecture', model_type, CONFIG_MAPPING).split(' (known')[0]}"
        )
    known = set(AutoConfig.for_model(model_type).to_dict()) | {"vocab_size", "num_labels"}
    for key in fields:
        if key not in known:
            raise CompressionError(f"model.config.{key}: {unknown(f'key of a {model_type} config', key, known)}")
    for key in fields.keys() & changes.keys():
        raise CompressionError(f"model.config.{key}: the data and tokenizer decide this ({changes[key]!r}); leave it out")
    try:
        return AutoConfig.for_model(model_type, **fields, **changes)
    except (ValueError, TypeError) as error:
        raise CompressionError(f"model.config: {str(error).strip().splitlines()[-1]}") from error


def load_model(auto_class: Any, model: str | FreshModel, config: "PretrainedConfig", seed: int) -> "PreTrainedModel":
    """The model with fp32 weights, ready to train; fresh weights follow from `seed`.

    Raises:
        CompressionError: the weights are missing or do not fit.
    """
    import torch
    from transformers import set_seed

    set_seed(seed)
    if isinstance(model, str):
        return _from_pretrained(auto_class, model, "model", config=config, dtype=torch.float32)
    return auto_class.from_config(config).to(torch.float32)  # type: ignore[no-any-return]


def new_weights(auto_class: Any, model: str, config: "PretrainedConfig") -> list[str]:
    """Names of the tensors that the checkpoint does not have, such as a classification head yet to be trained."""
    _, info = _from_pretrained(auto_class, model, "model", config=config, output_loading_info=True)
    return sorted(info["missing_keys"])


def skeleton(auto_class: Any, config: "PretrainedConfig") -> "PreTrainedModel":
    """The model without memory, for checking targets and shapes.

    Raises:
        CompressionError: the config's values do not make a model.
    """
    import torch

    try:
        with torch.device("meta"):
            return auto_class.from_config(config)  # type: ignore[no-any-return]
    except (ValueError, TypeError, RuntimeError, ZeroDivisionError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CompressionError(f"model: the config makes no {config.model_type} model: {first}") from error


def load_tokenizer(model: str) -> Any:
    """The tokenizer of a folder or Hub id, with a padding token."""
    from transformers import AutoTokenizer

    tokenizer = _from_pretrained(AutoTokenizer, model, "tokenizer")
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
    from transformers import PreTrainedTokenizerFast

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
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token=END_OF_TEXT, bos_token=END_OF_TEXT, pad_token=END_OF_TEXT
    )


def load_image_processor(model: str | FreshModel, config: "PretrainedConfig") -> Any:
    """The image processor of a model; for a fresh one the architecture's default at the config's image size."""
    from transformers import AutoImageProcessor

    if isinstance(model, str):
        return _from_pretrained(AutoImageProcessor, model, "model", backend="pil")
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


def _from_pretrained(auto_class: Any, name: str, key: str, **arguments: Any) -> Any:
    """`auto_class.from_pretrained`, refused in one sentence; code in checkpoints is never run."""
    if name.startswith((".", "/", "~")) and not Path(name).expanduser().exists():
        raise CompressionError(f"{key}: there is no folder {name}")
    path = str(Path(name).expanduser()) if name.startswith("~") else name
    try:
        return auto_class.from_pretrained(path, trust_remote_code=False, **arguments)
    except (OSError, ValueError, KeyError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CompressionError(f"{key}: {name} cannot be loaded: {first}") from error
