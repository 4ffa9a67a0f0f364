"""Forward Kullback-Leibler divergence."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from hf_compress._errors import CompressionError
from hf_compress._registry import Reference
from hf_compress.distillation.loss import RowLoss
from hf_compress.distillation.signal import Kind, Rows


@dataclass(frozen=True, kw_only=True)
class ForwardKL(RowLoss, name="forward_kl"):
    """T^2 * sum_rows KL(softmax(teacher / T) || softmax(student / T)).

    The square keeps gradients the same size at any temperature. Independent labels have a distribution each, so for
    multi-label heads it is T^2 * sum_rows sum_labels KL(B(teacher) || B(student)) with B(z) = Bernoulli(sigmoid(z / T)).

    Attributes:
        temperature: T > 0; 1 leaves the distributions as they are, larger flattens them.

    Source: Hinton, Vinyals, Dean 2015, section 2.
    """

    temperature: float = 1.0

    kinds: ClassVar[tuple[Kind, ...]] = ("shifted_tokens", "tokens", "single_label", "multi_label", "spans", "frames")
    reference: ClassVar[Reference | None] = Reference(
        authors="Hinton, Vinyals, Dean",
        title="Distilling the Knowledge in a Neural Network",
        year=2015,
        link="https://arxiv.org/abs/1503.02531",
        equation="section 2",
    )

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise CompressionError(f"temperature={self.temperature!r} must be above 0; 1 leaves the distributions alone")

    def __call__(self, student: Tensor, teacher: Rows, keep: Tensor) -> Tensor:
        """Student (N, V), teacher (N, V), keep (N,) -> scalar sum in nats.

        Raises:
            CompressionError: the vocabularies differ.
        """
        if student.shape[-1] != teacher.logits.shape[-1]:
            raise CompressionError(
                f"the student has {student.shape[-1]} classes and the teacher {teacher.logits.shape[-1]}; {self.name} needs"
                " the same vocabulary or label set on both sides"
            )
        student, target = student / self.temperature, teacher.logits / self.temperature
        if teacher.kind == "multi_label":
            divergence = _bernoulli(target, student).sum(-1)
        else:
            log_student, log_teacher = torch.log_softmax(student, dim=-1), torch.log_softmax(target, dim=-1)
            divergence = (log_teacher.exp() * (log_teacher - log_student)).sum(-1)
        return self.temperature**2 * divergence.masked_fill(~keep, 0.0).sum()


def _bernoulli(teacher: Tensor, student: Tensor) -> Tensor:
    """Element-wise KL(Bernoulli(sigmoid(teacher)) || Bernoulli(sigmoid(student))) in nats."""
    yes = functional.logsigmoid(teacher) - functional.logsigmoid(student)
    no = functional.logsigmoid(-teacher) - functional.logsigmoid(-student)
    return torch.sigmoid(teacher) * yes + torch.sigmoid(-teacher) * no
