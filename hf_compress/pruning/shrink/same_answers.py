"""Whether a model says of the pieces that stay what it said before: one pass of both over a few of them."""

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress._forward.probe import probe_inputs
from hf_compress._modules.names import model_name

logger = logging.getLogger(__name__)

_IDS = ("input_ids", "decoder_input_ids")
_CLOSE = {torch.float32: 1e-3, torch.float64: 1e-6}
"""Of the largest number, by type; 16 bits are rounded after every product, which may be of other shapes."""
_CLOSE_IN_16_BITS = 5e-2


def check_answers(model: Any, small: Any, kept: tuple[int, ...]) -> None:
    """Refuse a model whose class takes ids for more than the rows of a table.

    Args:
        model: whole.
        small: without rows of its vocabulary.
        kept: ids of the rows that stay, ascending.

    Raises:
        CompressionError: the two answer differently.
    """
    old = torch.tensor(kept, device=next(model.parameters()).device)
    expected = found = None
    for batch in _batches(small, len(kept)):
        own = {key: old[value] if key in _IDS else value for key, value in batch.items()}
        with contextlib.suppress(Exception):  # what a pass needs it says in many ways
            expected, found = _answer(model, own), _answer(small, batch)
            break
    if expected is None or found is None:
        logger.warning("%s was not compared with itself without the rows: no batch is known for it", model_name(model))
        return
    if expected.shape[-1] != found.shape[-1]:
        expected = expected[..., old]
    difference = (expected - found).abs().max().item()
    if not difference <= _CLOSE.get(found.dtype, _CLOSE_IN_16_BITS) * max(expected.abs().max().item(), 1e-6):
        raise CompressionError(
            f"{model_name(model)} without rows of its vocabulary answers otherwise (by {difference:.3g} on a batch of the"
            " same pieces): it takes ids for more than the rows of a table, so its vocabulary cannot be made smaller"
        )


def _batches(small: Any, count: int) -> Iterator[dict[str, Tensor]]:
    """Rows of ids from all of the vocabulary, because the first ones seldom move; then, for a class that wants some of its
    own, those of a probe.
    """
    batch = probe_inputs(small)
    if batch is not None:
        yield {key: _spread(value, count) if key in _IDS else value for key, value in batch.items()}
        yield batch


def _spread(ids: Tensor, count: int) -> Tensor:
    row = torch.linspace(0, count - 1, ids.shape[1], device=ids.device).long()
    return row.expand(ids.shape).contiguous()


@torch.no_grad()
def _answer(model: Any, batch: dict[str, Tensor]) -> Tensor:
    """The first tensor of its output."""
    training = model.training
    try:
        return next(value for value in model.eval()(**batch).values() if isinstance(value, Tensor))
    finally:
        model.train(training)
