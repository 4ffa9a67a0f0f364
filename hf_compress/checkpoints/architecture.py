"""What transformers knows of a checkpoint: its class, and whether the configs of several agree."""

import logging
from collections.abc import Iterator, Mapping
from typing import Any

logger = logging.getLogger(__name__)


_MAY_DIFFER = {
    *("_name_or_path", "transformers_version", "dtype", "torch_dtype", "architectures", "use_cache"),
    *("id2label", "label2id", "num_labels", "problem_type", "vocab_size", "num_hidden_layers", "quantization_config"),
    "tie_word_embeddings",
}
"""Fields of config.json that say nothing about how the weights are used, or that the merge settles elsewhere."""


def model_class(config: dict[str, Any]) -> Any:
    """The transformers class that wrote the checkpoint, or None where its config names none that transformers has."""
    import transformers

    names = config.get("architectures") or []
    return getattr(transformers, names[0], None) if names else None


def log_differences(first: str, one: Mapping[str, Any], second: str, other: Mapping[str, Any]) -> None:
    """Say what two configs disagree about, as far as it says how the weights are used.

    Args:
        first: the label of the model whose config is `one`.
        one: as plain data.
        second: the label of the other.
        other: its config.
    """
    differing = list(_differing(one, other))
    if differing:
        logger.warning("%s and %s disagree about %s; the result has the former's", first, second, ", ".join(differing))


def _differing(one: Mapping[str, Any], other: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Fields that both have with other values, those of nested configs one by one."""
    for key in sorted(one.keys() & other.keys() - _MAY_DIFFER):
        if isinstance(one[key], Mapping) and isinstance(other[key], Mapping):
            yield from _differing(one[key], other[key], f"{prefix}{key}.")
        elif one[key] != other[key] and not key.endswith("_token_id"):
            yield f"{prefix}{key} ({one[key]!r}, {other[key]!r})"
