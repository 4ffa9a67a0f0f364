"""Squared error between the logits."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress._registry import Reference
from hf_compress.distillation.loss import RowLoss
from hf_compress.distillation.signal import Kind, Rows


@dataclass(frozen=True, kw_only=True)
class MSE(RowLoss, name="mse"):
    """sum_rows mean_classes (student - teacher)^2; for numbers and independent labels the sum over every entry.

    The one loss for models that predict numbers. In squared units of the logits, so choose its weight by the logged size.

    Source: Ba and Caruana 2014, equation 1, without the factor 1/2 and as a mean over the classes.
    """

    kinds: ClassVar[tuple[Kind, ...]] = ("shifted_tokens", "tokens", "single_label", "multi_label", "regression", "frames")
    reference: ClassVar[Reference | None] = Reference(
        authors="Ba, Caruana",
        title="Do Deep Nets Really Need to be Deep?",
        year=2014,
        link="https://arxiv.org/abs/1312.6184",
        equation="1",
    )

    def __call__(self, student: Tensor, teacher: Rows, keep: Tensor) -> Tensor:
        """Student (N, V), teacher (N, V), keep (N,) -> scalar sum in squared units of the logits.

        Raises:
            CompressionError: the numbers of classes differ.
        """
        if student.shape[-1] != teacher.logits.shape[-1]:
            raise CompressionError(
                f"the student has {student.shape[-1]} classes and the teacher {teacher.logits.shape[-1]}; {self.name} needs"
                " the same vocabulary or label set on both sides"
            )
        squares = (student - teacher.logits).square().masked_fill(~keep.unsqueeze(-1), 0.0).sum()
        return squares if teacher.kind in ("multi_label", "regression") else squares / student.shape[-1]
