"""What units and groups write: against the rows themselves."""

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from hf_compress.pruning.shrink.written import group_writing, unit_writing


def test_a_unit_is_worth_the_norm_of_what_it_writes():
    rows, output = torch.tensor([[3.0, 1.0], [4.0, 0.0]]), nn.Linear(2, 2, bias=False)
    output.weight.data = torch.tensor([[0.0, 6.0], [2.0, 8.0]])
    assert unit_writing(output, rows.norm(dim=0)).tolist() == [5.0 * 2.0, 1.0 * 10.0]
    turned = Conv1D(2, 2)
    turned.weight.data = output.weight.data.t().clone()
    assert torch.equal(unit_writing(turned, rows.norm(dim=0)), unit_writing(output, rows.norm(dim=0)))


def test_a_group_is_worth_the_norm_of_what_its_heads_write_together():
    generator = torch.Generator().manual_seed(0)
    rows, output = torch.randn(50, 12, generator=generator), nn.Linear(12, 5)
    output.weight.data = torch.randn(5, 12, generator=generator)
    slow = [(rows[:, 4 * group :][:, :4] @ output.weight[:, 4 * group :][:, :4].T).norm() for group in range(3)]
    found = group_writing(output, rows.T @ rows, 3)
    torch.testing.assert_close(found, torch.stack(slow).detach(), rtol=1e-5, atol=0)
