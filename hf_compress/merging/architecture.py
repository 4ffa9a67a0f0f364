"""What transformers knows of a checkpoint: which weights are tied, and whether the result loads."""

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hf_compress._errors import CompressionError


def model_class(config: dict[str, Any]) -> Any:
    """The transformers class that wrote the checkpoint, or None where its config names none that transformers has."""
    import transformers

    names = config.get("architectures") or []
    return getattr(transformers, names[0], None) if names else None


def tied_tensors(folder: Path, config: dict[str, Any]) -> dict[str, str]:
    """Tensor -> the one whose weight it shares when the model is loaded; such duplicates need not be stored.

    Args:
        folder: of the checkpoint.
        config: its config.json.
    """
    cls = model_class(config)
    if cls is None or not isinstance(getattr(cls, "_tied_weights_keys", None), dict):
        return {}
    with quiet():
        loaded: Any = cls.config_class.from_pretrained(folder)
    if not loaded.get_text_config().tie_word_embeddings:
        return {}
    return {name: source for name, source in cls._tied_weights_keys.items() if "*" not in name and "\\" not in name}


def verify_loads(folder: Path, config: dict[str, Any], expected_missing: tuple[str, ...] = ()) -> str:
    """Load the result's names and shapes, without memory for the weights, and refuse anything missing or unexpected.

    Args:
        folder: the result.
        config: its config.json.
        expected_missing: prefixes of tensors that are left out on purpose.

    Returns:
        A sentence for the report.

    Raises:
        CompressionError: the checkpoint is not what the architecture expects.
    """
    cls = model_class(config)
    if cls is None:
        named = ", ".join(config.get("architectures") or []) or "no architecture"
        return f"not loaded: config.json names {named}, which transformers does not have"
    with quiet():
        try:
            _, info = cls.from_pretrained(folder, device_map="meta", output_loading_info=True)
        except Exception as error:  # each architecture refuses in its own way
            reason = " ".join(str(error).split())[:300]
            raise CompressionError(f"{folder}: the merged checkpoint does not load as {cls.__name__}: {reason}") from error
    missing = sorted(name for name in info["missing_keys"] if not name.startswith(expected_missing or ("\0",)))
    unexpected, mismatched = sorted(info["unexpected_keys"]), sorted(map(str, info["mismatched_keys"]))
    for kind, names in (("lacks", missing), ("has the unknown tensor", unexpected), ("has another shape for", mismatched)):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise CompressionError(f"{folder}: the merged checkpoint {kind} {names[0]}{more} as {cls.__name__} sees it")
    return f"loads as {cls.__name__}: nothing missing, nothing unexpected"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Transformers would print a table of what the caller says in one sentence."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
