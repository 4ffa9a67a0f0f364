import torch

from hf_compress.calibration.statistics.gram import GramMatrix
from hf_compress.calibration.statistics.input_norm import InputNorm


def reference(rows):
    """Element by element, for the contract of all statistics."""
    return torch.tensor([sum(float(value) ** 2 for value in column) ** 0.5 for column in rows.T])


def test_by_hand():
    rows = torch.tensor([[3.0, 0.0, 1.0], [-4.0, 0.0, 2.0]])
    norm = InputNorm()
    torch.testing.assert_close(norm.finish(norm.observe(rows, None), 2), torch.tensor([5.0, 0.0, 5**0.5]))


def test_it_is_the_diagonal_of_the_gram_matrix_and_grows_with_the_rows():
    rows = torch.randn(9, 6, generator=torch.Generator().manual_seed(0))
    norm = InputNorm().finish(InputNorm().observe(rows, None), 9)
    gram = GramMatrix().finish(GramMatrix().observe(rows, None), 9)
    torch.testing.assert_close(norm, (9 * gram.diagonal()).sqrt())
    twice = InputNorm().finish(InputNorm().observe(torch.cat([rows, rows]), None), 18)
    torch.testing.assert_close(twice, 2**0.5 * norm)
