"""Chunks against one dense computation by autograd."""

import pytest
import torch

from hf_compress.distillation.chunked import chunked_sum


def cross_entropy(labels):
    def loss(rows, index):
        value = torch.nn.functional.cross_entropy(rows, labels[index], reduction="sum")
        return value, value.detach() * 2

    return loss


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("chunk_bytes", [1, 4 * 13 * 3, 10**6])
def test_value_and_gradient_equal_the_dense_ones(dtype, chunk_bytes):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(10, 13, generator=generator).to(dtype).requires_grad_()
    labels = torch.randint(0, 13, (10,), generator=generator)
    keep = torch.rand(10, generator=generator) > 0.3
    total, logged = chunked_sum(logits, keep, cross_entropy(labels), chunk_bytes)
    (total * 0.5).backward()
    dense = logits.detach().float().requires_grad_()
    wanted = torch.nn.functional.cross_entropy(dense[keep], labels[keep], reduction="sum")
    (wanted * 0.5).backward()
    torch.testing.assert_close(total, wanted.detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(logged, 2 * wanted.detach(), rtol=1e-5, atol=1e-6)
    # the gradient is kept in the logits' type, 8 bits of mantissa for bf16
    tolerance = 1e-6 if dtype is torch.float32 else 1e-2
    torch.testing.assert_close(logits.grad.float(), dense.grad, rtol=tolerance, atol=tolerance)
    assert (logits.grad[~keep] == 0).all()


def test_no_kept_row_gives_zero_and_a_zero_gradient():
    logits = torch.randn(4, 5, requires_grad=True)
    none = torch.zeros(4, dtype=torch.bool)
    total = chunked_sum(logits, none, cross_entropy(torch.zeros(4, dtype=torch.long)))[0]
    total.backward()
    assert float(total) == 0 and (logits.grad == 0).all()


def test_a_second_backward_is_refused():
    logits = torch.randn(4, 5, requires_grad=True)
    loss = cross_entropy(torch.zeros(4, dtype=torch.long))
    total = chunked_sum(logits, torch.ones(4, dtype=torch.bool), loss)[0]
    total.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="one backward pass"):
        total.backward()
