import math

import pytest
import torch

from hf_compress import CompressionError, ForwardKL
from hf_compress.distillation.signal import Rows


def test_two_classes_by_hand():
    """p = (3/4, 1/4), q = (1/2, 1/2): KL = 3/4 ln 3/2 + 1/4 ln 1/2."""
    student, teacher = torch.zeros(1, 2), torch.tensor([[math.log(3.0), 0.0]])
    measured = ForwardKL()(student, Rows(logits=teacher), torch.tensor([True]))
    assert float(measured) == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5), rel=1e-6)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_value_equals_that_of_torch_in_fp64(temperature):
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(7, 11, generator=generator, dtype=torch.float64) for _ in range(2))
    log_q, log_p = (torch.log_softmax(x / temperature, -1) for x in (student, teacher))
    wanted = temperature**2 * torch.nn.functional.kl_div(log_q, log_p, reduction="sum", log_target=True)
    measured = ForwardKL(temperature=temperature)(student, Rows(logits=teacher), torch.ones(7, dtype=torch.bool))
    torch.testing.assert_close(measured, wanted, rtol=1e-12, atol=1e-12)


def test_it_is_a_sum_over_kept_rows():
    generator = torch.Generator().manual_seed(1)
    student, teacher = (torch.randn(6, 5, generator=generator) for _ in range(2))
    keep = torch.tensor([True, False, True, True, False, True])
    every = ForwardKL()(student, Rows(logits=teacher), keep)
    ones = torch.ones(1, dtype=torch.bool)
    parts = [ForwardKL()(student[i : i + 1], Rows(logits=teacher[i : i + 1]), ones) for i in range(6) if keep[i]]
    torch.testing.assert_close(every, torch.stack(parts).sum())


def test_other_vocabularies_and_temperatures_are_refused():
    with pytest.raises(CompressionError, match="student has 3 classes and the teacher 4"):
        ForwardKL()(torch.zeros(1, 3), Rows(logits=torch.zeros(1, 4)), torch.tensor([True]))
    with pytest.raises(CompressionError, match="temperature=0 must be above 0"):
        ForwardKL(temperature=0)
