import pytest
import torch

from hf_compress._errors import CompressionError
from hf_compress.merging.mathematics.inner_products import Lines, combine, gram
from tests.merging.methods.applied import operands, random


def vectors_of(tensor, along):
    if along == "tensor" or tensor.ndim < 2:
        return tensor.reshape(1, -1)
    if along == "rows":
        return tensor.reshape(-1, tensor.shape[-1])
    if along == "filters":
        return tensor.reshape(tensor.shape[0], -1)
    return tensor.reshape(tensor.shape[0], -1).T


@pytest.mark.parametrize("along", ["tensor", "rows", "columns", "filters"])
@pytest.mark.parametrize("shape", [(), (7,), (5, 6), (3, 4, 2, 5)])
@pytest.mark.parametrize("from_base", [False, True])
def test_inner_products_and_sums_of_every_cut(monkeypatch, along, shape, from_base):
    monkeypatch.setattr("hf_compress.merging.operands.CHUNK", 8)
    whole = operands(*(random(*shape, seed=seed) for seed in range(3)), base=random(*shape, seed=9))
    lines = Lines.cut(shape, along)
    data = [tensor.double() - (whole.base.double() if from_base else 0) for tensor in whole.tensors]
    stacked = torch.stack([vectors_of(tensor, along) for tensor in data])  # (M, lines, elements)
    inner = gram(whole, lines, from_base=from_base)
    torch.testing.assert_close(inner, torch.einsum("ile,jle->ijl", stacked, stacked))
    factors = torch.arange(1.0, 3 * lines.count + 1, dtype=torch.float64).view(3, -1)
    parts = [combine(part, factors, lines, from_base=from_base) for part in whole.chunks()]
    result = vectors_of(torch.cat(parts).view(shape).double(), along)
    expected = torch.einsum("il,ile->le", factors, stacked)
    if from_base:
        expected = expected + vectors_of(whole.base.double(), along)
    # three fp32 products with factors up to 180
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-4)


def test_differences_from_the_base_are_taken_in_double():
    # fp32 has no number between 1e8 and 1e8 + 8
    base = torch.tensor([1e8], dtype=torch.float64)
    whole = operands(base + 1, base + 2, base=base)
    assert gram(whole, Lines.cut((1,), "tensor"), from_base=True)[0, 1].item() == 2.0


def test_an_unknown_cut_is_refused():
    with pytest.raises(CompressionError, match=r"along='heads' is unknown"):
        Lines.cut((2, 2), "heads")
