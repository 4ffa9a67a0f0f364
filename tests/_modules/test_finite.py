"""Weights that are no numbers have a name."""

import pytest
import torch
from torch import nn

from hf_compress._errors import CompressionError
from hf_compress._modules.finite import check_finite


def model(value=1.0, dtype=torch.float32):
    built = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2)).to(dtype)
    with torch.no_grad():
        built[1].bias[1] = value
    return built


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_the_parameter_is_named(value, dtype):
    with pytest.raises(CompressionError, match=r"1\.bias holds NaN or infinity.*lower learning rate"):
        check_finite(model(value, dtype))


def test_the_ends_of_a_type_are_inside_it():
    for value in (65504.0, -65504.0):
        check_finite(model(value), "float16")
    with pytest.raises(CompressionError, match=r"1\.bias reaches 6\.552e\+04, and float16 ends at 6\.55e\+04"):
        check_finite(model(-65520.0), "float16")
    check_finite(model(1e30), "bfloat16")


def test_what_has_no_floating_values_is_left_out():
    built = model()
    built.codes = nn.Parameter(torch.zeros(2, dtype=torch.int8), requires_grad=False)
    built.empty = nn.Parameter(torch.zeros(0))
    check_finite(built)
    check_finite(model().to("meta"))
