"""Whether files hold exactly the tensors that were meant."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import torch
from safetensors import safe_open
from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress._safetensors import read_entries

WRITE_AGAIN = "the file was not written as it should be; write it again, to another disk if it stays so"
"""How a refusal of what is in a file ends."""


def compare_files(folder: Path, meant: Mapping[str, Tensor], place: Path) -> None:
    """Refuse files that do not hold exactly these tensors; of tied ones one is enough."""
    entries = read_entries(folder)
    for name, entry in entries.items():
        if name not in meant:
            refuse(place, f"{name} is in {entry.file.name} and is not a tensor of the model; {WRITE_AGAIN}")
    written = {_storage(meant[name]) for name in entries}
    for name, tensor in meant.items():
        if name not in entries and _storage(tensor) not in written:
            refuse(place, f"{name} is not in the files; {WRITE_AGAIN}")
    for file in sorted({entry.file for entry in entries.values()}):
        with safe_open(file, framework="pt") as stored:
            for name in stored.keys():  # noqa: SIM118
                compare_tensor(f"{name} in {file.name}", stored.get_tensor(name), meant[name], place, WRITE_AGAIN)


def compare_tensor(what: str, found: Tensor, meant: Tensor, place: Path, way_out: str) -> None:
    """Refuse a stored tensor that is not what was meant, in type, shape or bytes."""
    meant = meant.detach().cpu()
    if found.dtype != meant.dtype:
        refuse(place, f"{what} is {type_name(found.dtype)} and should be {type_name(meant.dtype)}; {way_out}")
    if found.shape != meant.shape:
        refuse(place, f"{what} has the shape {list(found.shape)} and should have {list(meant.shape)}; {way_out}")
    if not same_bits(found.detach().cpu(), meant):
        refuse(place, f"{what} has other values than the model's ({distance(found.cpu(), meant):.3g} at most); {way_out}")


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Equal type, shape and bytes; NaN equals NaN."""
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return torch.equal(*(tensor.contiguous().reshape(-1).view(torch.uint8) for tensor in (one, other.to(one.device))))


def distance(one: Tensor, other: Tensor) -> float:
    """The largest absolute difference; infinite where shapes differ or NaN stands on one side."""
    if one.shape != other.shape:
        return float("inf")
    worst = (one.detach().cpu().double() - other.detach().cpu().double()).abs().nan_to_num(nan=float("inf"))
    return float(worst.max()) if worst.numel() else 0.0


def _storage(tensor: Tensor) -> tuple[Any, ...]:
    """Equal for tensors that are one in memory (tied weights)."""
    return tensor.device, tensor.data_ptr(), tuple(tensor.shape), tensor.stride()


def type_name(dtype: torch.dtype) -> str:
    """As config.json says it: bfloat16."""
    return str(dtype).removeprefix("torch.")


def refuse(place: Path, what: str) -> NoReturn:
    """The checkpoint at `place` is refused."""
    raise CompressionError(f"{place}: {what}")
