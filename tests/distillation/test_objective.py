import math

import pytest
import torch

from hf_compress import CompressionError, Distillation, ForwardKL
from hf_compress.distillation.losses.mse import MSE
from hf_compress.distillation.objective import AGREEMENT_STRIDE, check_kind, distillation_objective, task_objective
from hf_compress.distillation.signal import Signal
from hf_compress.tasks.row_kind import row_kind

HALF = Distillation(losses=[(0.5, ForwardKL())])


def objective(job, student, labels, teacher, kind, **more):
    return distillation_objective(job, student, teacher, {"labels": labels}, row_kind(kind)(), **more)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_parts_are_unweighted_and_add_up_with_their_weights():
    job = Distillation(losses=[(0.5, ForwardKL()), (0.25, MSE())], task_weight=0.4)
    labels = torch.tensor([0, 1, -100, 2])
    sums = objective(job, Signal(logits=random(4, 3)), labels, Signal(logits=random(4, 3, seed=1)), "tokens")
    torch.testing.assert_close(sums.total, 0.4 * sums.task + 0.75 * sums.distilled)
    assert (float(sums.items), float(sums.compared)) == (3, 3)
    alone, items = task_objective(random(4, 3), {"labels": labels}, row_kind("tokens")())
    torch.testing.assert_close(alone, sums.task)
    assert float(items) == 3


def test_one_independent_label_by_hand():
    """p = 3/4, q = 1/2 for both labels: 2 * (3/4 ln 3/2 + 1/4 ln 1/2), of 2 items."""
    teacher = torch.full((1, 2), math.log(3.0))
    sums = objective(HALF, Signal(logits=torch.zeros(1, 2)), torch.ones(1, 2), Signal(logits=teacher), "multi_label")
    assert float(sums.distilled) == pytest.approx(2 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5)), rel=1e-6)
    assert float(sums.items) == 2


def test_labels_far_too_likely_are_seen():
    """A softmax over labels does not change when every logit moves by 8."""
    teacher = random(5, 4)
    one = objective(HALF, Signal(logits=teacher + 8), torch.ones(5, 4), Signal(logits=teacher), "multi_label")
    other = objective(
        HALF, Signal(logits=teacher + 8), torch.zeros(5, dtype=torch.long), Signal(logits=teacher), "single_label"
    )
    assert float(one.distilled) / 20 > 1 and float(other.distilled) < 1e-5


def test_padding_of_one_vocabulary_is_cut_and_the_rest_normalised():
    student, teacher = random(6, 9), random(6, 7, seed=1)
    labels = torch.arange(6)
    sums = objective(HALF, Signal(logits=student), labels, Signal(logits=teacher, common=7), "tokens")
    log_q, log_p = torch.log_softmax(student[:, :7], -1), torch.log_softmax(teacher, -1)
    torch.testing.assert_close(sums.distilled, (log_p.exp() * (log_p - log_q)).sum())
    torch.testing.assert_close(sums.task, torch.nn.functional.cross_entropy(student, labels, reduction="sum"))
    with pytest.raises(CompressionError, match=r"shape \(6, 7\) and the student's \(6, 9\)"):
        objective(HALF, Signal(logits=student), labels, Signal(logits=teacher), "tokens")


@pytest.mark.parametrize(("width", "stride"), [(5, 1), (10_000, AGREEMENT_STRIDE)])
def test_agreement_counts_equal_largest_logits(width, stride):
    student, teacher = random(20, width), random(20, width, seed=1)
    teacher[:10, 3] = student[:10, 3] = 100.0
    sums = objective(HALF, Signal(logits=student), torch.zeros(20, dtype=torch.long), Signal(logits=teacher), "tokens")
    rows = slice(None, None, stride)
    assert float(sums.agreed) == float((student[rows].argmax(-1) == teacher[rows].argmax(-1)).sum())
    assert float(sums.compared) == len(student[rows])


def test_entropy_and_accuracy_are_summed_where_asked_for():
    student, labels = random(6, 5), torch.tensor([0, 1, 2, 3, 4, -100])
    sums = objective(HALF, Signal(logits=student), labels, Signal(logits=student), "tokens", token_metrics=True)
    p = torch.softmax(student[:5], -1)
    torch.testing.assert_close(sums.entropy, -(p * p.log()).sum())
    assert float(sums.correct) == float((student[:5].argmax(-1) == labels[:5]).sum())


def test_a_loss_that_is_not_defined_for_a_kind_is_refused_with_those_that_are():
    check_kind(HALF, row_kind("multi_label")(), "Model")
    with pytest.raises(
        CompressionError, match=r"forward_kl is not defined for numbers \(regression\), which Model .*; take (.+ or )?mse"
    ):
        check_kind(HALF, row_kind("regression")(), "Model")
