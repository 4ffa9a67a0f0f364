"""A batch of rows of tokens that are not equally long."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any


class PadRows:
    """A collator that pads token ids, masks and labels of tokens to the longest row, on the right.

    There whatever the tokenizer does for generation: the positions of a row then begin at 0 whatever stands beside it, and
    a gradient does not depend on how rows are put into batches. Labels are padded with -100. Columns that are neither the
    tokenizer's nor labels stay out.

    Args:
        processor: a tokenizer with a padding token.
        more: other columns that a batch has, one number for a row.
    """

    def __init__(self, processor: Any, more: Sequence[str] = ()) -> None:
        from transformers import DataCollatorForTokenClassification

        padded = copy.copy(processor)
        padded.padding_side = "right"
        self._keys = {*processor.model_input_names, "labels", *more}
        self._collate = DataCollatorForTokenClassification(padded)

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> Any:
        """Tensors of shape (B, T)."""
        return self._collate([{key: value for key, value in row.items() if key in self._keys} for row in rows])
