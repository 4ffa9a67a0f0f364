import pytest
import torch

from hf_compress import CompressionError
from hf_compress.distillation.losses.mse import MSE
from hf_compress.distillation.signal import Rows

STUDENT, TEACHER = torch.tensor([[1.0, 2.0], [0.0, 4.0]]), torch.tensor([[0.0, 0.0], [0.0, 1.0]])
EVERY = torch.tensor([True, True])


def test_two_rows_by_hand():
    """Squares 1 + 4 and 0 + 9: means over two classes 2.5 and 4.5; entries count by themselves for numbers."""
    assert float(MSE()(STUDENT, Rows(logits=TEACHER), EVERY)) == pytest.approx(7.0)
    for kind in ("regression", "multi_label"):
        assert float(MSE()(STUDENT, Rows(logits=TEACHER, kind=kind), EVERY)) == pytest.approx(14.0)


def test_rows_that_do_not_count_have_no_gradient():
    student = STUDENT.clone().requires_grad_()
    MSE()(student, Rows(logits=TEACHER), torch.tensor([True, False])).backward()
    assert student.grad.tolist() == [[1.0, 2.0], [0.0, 0.0]]


def test_other_numbers_of_classes_are_refused():
    with pytest.raises(CompressionError, match="student has 2 classes and the teacher 3; mse needs"):
        MSE()(STUDENT, Rows(logits=torch.zeros(2, 3)), EVERY)
