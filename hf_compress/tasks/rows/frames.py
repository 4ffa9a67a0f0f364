"""Frames of sound, under connectionist temporal classification."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from hf_compress._errors import CompressionError
from hf_compress._modules.heard_loss import heard_loss
from hf_compress.tasks.heads import base_model
from hf_compress.tasks.row_kind import IGNORED, RowKind, TaskRows


@dataclass(frozen=True, kw_only=True)
class Frames(RowKind, name="frames"):
    """Logits (B, T, V): those at t are a distribution over the characters and the blank, heard in the frame t.

    The task loss is of whole utterances: c_u = -log sum of p(path) over all paths that spell the labels of u (Graves et al.
    2006). A row is a frame within the utterance's length. The model's config decides what both are divided by:

        sum     sum_u (c_u + sum_t row[u, t])                  as torch's "sum": by nothing
        mean    1 / U sum_u 1 / L_u (c_u + sum_t row[u, t])    as torch's "mean": by the labels L_u, then by U utterances

    so that the ratio of the two losses is the same under both.

    Attributes:
        reduction: `ctc_loss_reduction` of the model's config.
    """

    reduction: Literal["sum", "mean"] = "sum"

    predicts: ClassVar[str] = "frames of sound"
    counted_by_trainer: ClassVar[bool] = False
    head_divides: ClassVar[bool] = False

    @classmethod
    def of(cls, model: nn.Module) -> Self:
        """With the model's reduction."""
        own = base_model(model)
        reduction: Any = getattr(own.config, "ctc_loss_reduction", "mean")
        if reduction not in ("sum", "mean"):
            raise CompressionError(
                f"ctc_loss_reduction={reduction!r} of {type(own).__name__} makes no loss to train with; write sum or mean"
                " into its config"
            )
        return cls(reduction=reduction)

    def num_items(self, batch: Mapping[str, Any]) -> Tensor:
        """Utterances."""
        return torch.tensor(len(batch["labels"]), device=batch["labels"].device)

    def divisor(self, items: Tensor) -> Tensor:
        """1 for a sum."""
        return torch.ones_like(items) if self.reduction == "sum" else items

    @contextlib.contextmanager
    def listening(self, model: Any) -> Iterator[dict[str, Any]]:
        """What the head hands its loss: only it knows how many frames its samples become."""
        with heard_loss(model) as heard:
            yield heard

    def rows(self, logits: Tensor, targets: Mapping[str, Tensor], facts: Mapping[str, Any]) -> TaskRows:
        """A row for every frame, and the loss of the utterances.

        Raises:
            CompressionError: the head did not say how many frames count.
        """
        if "logit_lengths" not in facts or "blank_token_id" not in facts:
            raise CompressionError(
                "the model's head hands its loss no lengths, so nobody knows which frames count; update transformers"
            )
        labels, blank = targets["labels"], facts["blank_token_id"]
        spelled = (labels != IGNORED) & (labels != blank)
        lengths, frames = spelled.sum(-1), facts["logit_lengths"].to(logits.device)
        with torch.backends.cudnn.flags(enabled=False):
            losses = functional.ctc_loss(
                logits.float().log_softmax(-1).transpose(0, 1),
                labels.masked_select(spelled),
                frames,
                lengths,
                blank=blank,
                reduction="none",
                zero_infinity=facts.get("zero_infinity", False),
            )
        shares = torch.ones_like(losses) if self.reduction == "sum" else 1.0 / lengths.clamp(min=1).to(losses.dtype)
        keep = torch.arange(logits.shape[1], device=logits.device) < frames.unsqueeze(1)
        return TaskRows(
            logits=logits.reshape(-1, logits.shape[-1]),
            keep=keep.reshape(-1),
            items=self.num_items(targets),
            weights=shares.repeat_interleave(logits.shape[1]),
            whole=(losses * shares).sum(),
            positions=keep,
        )
