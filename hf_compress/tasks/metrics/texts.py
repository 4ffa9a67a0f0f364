"""What metrics of texts share."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hf_compress._errors import CompressionError

if TYPE_CHECKING:
    from numpy import ndarray


def lists_of_references(name: str, references: Sequence[Any]) -> list[list[str]]:
    """A list of right texts for every row.

    Args:
        name: of the metric, for refusals.
        references: for each row a text, or a list of texts.

    Raises:
        CompressionError: a row has none.
    """
    lists = [[row] if isinstance(row, str) else list(row) for row in references]
    empty = next((row for row, texts in enumerate(lists) if not texts), None)
    if empty is not None:
        raise CompressionError(f"{name}: row {empty} has no reference; give it a text, which may be empty")
    return lists


def one_reference(name: str, references: Sequence[Any]) -> list[str]:
    """The only right text of every row.

    Args:
        name: of the metric, for refusals.
        references: for each row a text, or a list of one.

    Raises:
        CompressionError: a row has another number of them.
    """
    lists = lists_of_references(name, references)
    several = next((row for row, texts in enumerate(lists) if len(texts) > 1), None)
    if several is not None:
        raise CompressionError(
            f"{name} compares with one reference, and row {several} has {len(lists[several])}; keep one of them"
        )
    return [texts[0] for texts in lists]


def reference_streams(name: str, references: Sequence[Any]) -> list[list[Any]]:
    """References as sacrebleu takes them: the first of every row, then the second, ...; None where a row has fewer."""
    lists = lists_of_references(name, references)
    return [[texts[place] if place < len(texts) else None for texts in lists] for place in range(max(map(len, lists)))]


def spoken(metric: str, references: Sequence[Any], unit: str) -> list[str]:
    """The one text of every row, for a rate of errors in its words or characters.

    Raises:
        CompressionError: a row has several, or no row has a text.
    """
    truth = one_reference(metric, references)
    if not any(text.strip() for text in truth):
        raise CompressionError(f"{metric} is not defined where no reference has a {unit}; evaluate rows with a text")
    return truth


def errors(aligned: Any) -> "ndarray":
    """(N, 2): what was substituted, deleted or inserted in every row, and how much its reference has.

    Args:
        aligned: of `jiwer.process_words` or `jiwer.process_characters`.
    """
    import numpy

    wrong = [
        sum(
            max(chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx)
            for chunk in chunks
            if chunk.type != "equal"
        )
        for chunks in aligned.alignments
    ]
    return numpy.array([wrong, [len(row) for row in aligned.references]], dtype=numpy.float64).T
