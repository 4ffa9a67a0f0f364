"""Rows of tokens of which some are hidden."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy
import torch
from transformers import TrainerCallback

from hf_compress.tasks.padding import PadRows


class MaskRows(TrainerCallback):
    """A collator that hides tokens of rows without labels, by transformers' own, and a callback that hears of epochs.

    What is hidden of a row depends on the row, on the training's seed and on the epoch alone, not on the rows beside it,
    nor on how many were drawn before. So a gradient does not depend on how rows are split over batches and processes, and
    a training that goes on in the middle of an epoch sees the same masks as one that was never interrupted. transformers
    alone draws masks from the global state, from which a resumed training draws others, because batches are fetched ahead
    of the step whose state a checkpoint keeps.

    Args:
        processor: a tokenizer with a mask token.
        share: of the tokens that are no special ones; of these 80 % become the mask token, 10 % another, 10 % stay.
    """

    def __init__(self, processor: Any, share: float) -> None:
        from transformers import DataCollatorForLanguageModeling

        self._library = DataCollatorForLanguageModeling(processor, mlm_probability=share)
        self._pad = PadRows(processor)
        self._key = (0, 0)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Masks are others in every epoch."""
        self._key = (args.seed, int(state.epoch or 0))

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> Any:
        """Tensors of shape (B, T); rows with labels are padded and stay as they are."""
        return self._pad([row if "labels" in row else self.masked(row["input_ids"], self._key) for row in rows])

    def masked(self, ids: Sequence[int], key: tuple[int, int] = (0, 0)) -> dict[str, list[int]]:
        """A row with some of its tokens hidden, and these as labels.

        Args:
            ids: (T,).
            key: seed and epoch.
        """
        digest = hashlib.blake2b(numpy.asarray([*key, *ids], dtype="<i8").tobytes(), digest_size=7).digest()
        self._library.generator = torch.Generator().manual_seed(int.from_bytes(digest, "little"))
        hidden, labels = self._library.torch_mask_tokens(torch.tensor([list(ids)]))
        return {"input_ids": hidden[0].tolist(), "labels": labels[0].tolist()}
