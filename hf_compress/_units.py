"""Points in training, fractions and byte counts: checked and written in one place."""

import math
import re

from hf_compress._errors import CompressionError

Point = int | str
"""A moment of training: an optimizer step (int) or a share of all steps ("60%"). A bare float is refused, because 0.5
could mean half of the run or half of a step."""

_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%")


def check_point(point: Point, field: str) -> None:
    """Refuse what is not a point.

    Raises:
        CompressionError: a float, a negative step, a text without %, or more than 100%.
    """
    if isinstance(point, bool) or not isinstance(point, int | str):
        raise CompressionError(f"{field}={point!r} is not a point in training; write a step (300) or a share ('60%')")
    if isinstance(point, int):
        if point < 0:
            raise CompressionError(f"{field}={point} is negative; steps count from 0")
        return
    match = _PERCENT.fullmatch(point.strip())
    if match is None:
        raise CompressionError(f"{field}={point!r} is not a point in training; write a step (300) or a share ('60%')")
    if float(match[1]) > 100:
        raise CompressionError(f"{field}={point!r} is after the end of training; write at most '100%'")


def resolve_point(point: Point, max_steps: int) -> int:
    """The optimizer step that `point` means in a run of `max_steps` steps; shares are rounded to the nearest step."""
    if isinstance(point, int):
        return point
    match = _PERCENT.fullmatch(point.strip())
    assert match is not None, point
    return math.floor(float(match[1]) / 100 * max_steps + 0.5)


def check_sparsity(value: float, field: str) -> None:
    """Refuse a sparsity outside [0, 1)."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise CompressionError(f"{field}={value!r} is not a sparsity; it is the share of zeros, in [0, 1)")


def share_of(value: float | str) -> float:
    """The fraction that is meant: 0.6, or "60%"."""
    return float(value) if not isinstance(value, str) else float(value.strip().removesuffix("%")) / 100


def check_share(value: float | str, field: str) -> None:
    """Refuse what is no share between nothing and all.

    Raises:
        CompressionError: a number outside (0, 1), or a text that is no percentage in (0, 100).
    """
    readable = not isinstance(value, str) or _PERCENT.fullmatch(value.strip()) is not None
    if not readable or not 0 < share_of(value) < 1:
        raise CompressionError(f"{field}={value!r} is no share that stays; write one between 0% and 100% ('60%'), or 0.6")


def format_bytes(num_bytes: float) -> str:
    """1536 -> '1.54 KB'; powers of 1000, as disks and the Hub count."""
    for unit in ("B", "KB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.0f} {unit}" if unit == "B" else f"{num_bytes:.2f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.2f} TB"
