"""Adapters that train single tokens: rows of an embedding or a head that replace the base's (trainable_token_indices)."""

from dataclasses import dataclass
from typing import Any

from hf_compress._errors import CompressionError
from hf_compress.checkpoints.names import ModelNames
from hf_compress.merging.lora.adapter import Adapter


@dataclass(frozen=True, kw_only=True)
class TokenRows:
    """Rows that are replaced in one tensor.

    Attributes:
        key: the new rows in the adapter's file, (N, width).
        rows: their places.
    """

    key: str
    rows: tuple[int, ...]


def token_rows(adapter: Adapter, names: ModelNames) -> dict[str, TokenRows]:
    """Tensor on disk -> its new rows.

    PEFT gives an embedding and a head that share their weight the same rows, so every tensor that is stored for them gets
    them.

    Raises:
        CompressionError: adapter_config.json names other tokens than the file has rows for, or the base has no such tensor.
    """
    found = {}
    for module, key in adapter.tokens.items():
        rows = _indices(adapter, module)
        num_rows, width = adapter.shape(key)
        if len(rows) != num_rows:
            raise CompressionError(
                f"{adapter.place}: trainable_token_indices names {len(rows)} tokens for {module}, and the file has"
                f" {num_rows} rows; the adapter's files do not belong together, save it again"
            )
        parameter = names.parameter(f"{module}.weight")
        group = [] if parameter is None else names.tied_group(parameter)
        tensors = [names.tensor_of[item] for item in group if item in names.tensor_of]
        if not tensors:
            raise CompressionError(
                f"{adapter.place}: {module}.weight has no tensor in {names.place}; the adapter belongs to another base"
            )
        for tensor in tensors:
            shape = names.infos[tensor].shape
            if len(shape) != 2 or shape[1] != width or max(rows, default=0) >= shape[0]:
                raise CompressionError(
                    f"{adapter.place}: rows up to {max(rows, default=0)} of width {width} are trained, and {tensor} in"
                    f" {names.place} is {list(shape)}; save the base with the vocabulary the adapter was trained on first"
                )
            found[tensor] = TokenRows(key=key, rows=rows)
    return found


def _indices(adapter: Adapter, module: str) -> tuple[int, ...]:
    """The token ids of a module: one list for the input embedding, or lists by (the end of) module names."""
    given: Any = adapter.config.get("trainable_token_indices")
    if isinstance(given, dict):
        given = next((ids for name, ids in given.items() if module == name or module.endswith(f".{name}")), None)
    if not isinstance(given, list) or not all(type(index) is int and index >= 0 for index in given):
        raise CompressionError(
            f"{adapter.place}: trainable_token_indices={adapter.config.get('trainable_token_indices')!r} names no tokens of"
            f" {module}; write their ids"
        )
    return tuple(given)
