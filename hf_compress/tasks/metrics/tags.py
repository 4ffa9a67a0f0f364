"""What metrics of tags share."""

from collections.abc import Sequence
from typing import Any

from hf_compress._errors import CompressionError


def check_lengths(name: str, predictions: Sequence[Any], references: Sequence[Any]) -> None:
    """Refuse a sentence with more or fewer predicted tags than right ones, and sentences without any.

    Args:
        name: of the metric, for refusals.
        predictions: for each row a list of tags.
        references: for each row a list of tags.

    Raises:
        CompressionError: naming the row.
    """
    for row, (predicted, truth) in enumerate(zip(predictions, references, strict=True)):
        if len(predicted) != len(truth):
            raise CompressionError(
                f"{name}: row {row} has {len(predicted)} predicted tags and {len(truth)} right ones; give one of each for"
                " every token"
            )
    if not any(len(truth) for truth in references):
        raise CompressionError(f"{name} of no tags is not defined; every sentence is empty")
