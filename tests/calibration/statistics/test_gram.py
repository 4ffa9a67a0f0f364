import torch

from hf_compress.calibration.statistics.gram import GramMatrix


def reference(rows):
    """Element by element, for the contract of all statistics."""
    count, width = rows.shape
    products = torch.empty(width, width)
    for i in range(width):
        for j in range(width):
            products[i, j] = sum(float(rows[n, i]) * float(rows[n, j]) for n in range(count))
    return products / count


def test_by_hand():
    rows = torch.tensor([[1.0, 2.0], [3.0, -1.0]])
    gram = GramMatrix()
    torch.testing.assert_close(gram.finish(gram.observe(rows, None), 2), torch.tensor([[5.0, -0.5], [-0.5, 2.5]]))


def test_its_bits_are_those_of_fp32_products_added_up_in_fp64():
    parts = [torch.randn(size, 5, generator=torch.Generator().manual_seed(size)).bfloat16() for size in (3, 4, 2)]
    total = None
    for rows in parts:
        total = GramMatrix().observe(rows, total)
    summed = torch.zeros(5, 5, dtype=torch.float64)
    for rows in parts:
        summed += (rows.float().T @ rows.float()).double()
    assert torch.equal(GramMatrix().finish(total, 9), (summed / 9).float())


def test_its_diagonal_is_not_negative_and_it_is_symmetric():
    rows = torch.randn(7, 4, generator=torch.Generator().manual_seed(0))
    gram = GramMatrix().finish(GramMatrix().observe(rows, None), 7)
    assert torch.equal(gram, gram.T) and (gram.diagonal() >= 0).all()
