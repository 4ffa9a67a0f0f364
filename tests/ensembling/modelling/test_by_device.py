"""A thread for each device; two lanes on one processor stand for two devices."""

import threading

import pytest
import torch
from torch import nn

from hf_compress import CompressionError
from hf_compress.ensembling.modelling.by_device import asked_in_lanes, checked_devices
from tests.ensembling.folders import texts

IDS = torch.randint(4, 60, (5, 7), generator=torch.Generator().manual_seed(0))


class Notes(nn.Module):
    """Says in which thread and mode it was asked, and waits for the other lane where there is one."""

    def __init__(self, barrier=None):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))
        self.barrier = barrier

    def forward(self, x):
        if self.barrier is not None:
            self.barrier.wait(timeout=20)
        return {
            "thread": threading.get_ident(),
            "grad": torch.is_grad_enabled(),
            "inference": torch.is_inference_mode_enabled(),
            "product": torch.outer(self.weight, x),
        }


def test_lanes_answer_as_one_after_the_other():
    members = [*texts()[0], *texts(orders=("bca", "abc"))[0]]
    with torch.no_grad():
        found = asked_in_lanes(members, [{"input_ids": IDS}] * 4, ["one", "other", "other", "one"])
        for member, output in zip(members, found, strict=True):
            assert torch.equal(output.logits, member(IDS).logits)


def test_lanes_are_asked_at_once_and_members_of_a_lane_one_after_the_other():
    """Each waits for a member of the other lane, so asked in turn they would never end."""
    barrier = threading.Barrier(2)
    members = [Notes(barrier) for _ in range(4)]
    found = asked_in_lanes(members, [{"x": torch.ones(2)}] * 4, [0, 0, 1, 1])
    threads = [output["thread"] for output in found]
    assert threads[0] == threads[1] != threads[2] == threads[3]


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_modes_of_the_caller_hold_in_the_threads(mode):
    members = [Notes(), Notes()]
    with mode():
        here = members[0](torch.ones(2))
        for output in asked_in_lanes(members, [{"x": torch.ones(2)}] * 2, [0, 1]):
            assert (output["grad"], output["inference"]) == (here["grad"], here["inference"])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        linear = [nn.Linear(2, 2), nn.Linear(2, 2)]
        found = asked_in_lanes(linear, [{"input": torch.ones(1, 2)}] * 2, [0, 1])
        assert {output.dtype for output in found} == {torch.bfloat16}


def test_gradients_go_through_the_threads():
    members = [Notes(), Notes()]
    found = asked_in_lanes(members, [{"x": torch.tensor([1.0, 2.0])}] * 2, [0, 1])
    sum(output["product"].sum() for output in found).backward()
    assert all(torch.equal(member.weight.grad, torch.tensor([3.0, 3.0])) for member in members)


def test_what_a_member_raises_arrives():
    with pytest.raises(CompressionError, match="said so"):
        asked_in_lanes([Notes(), Raises()], [{"x": torch.ones(2)}] * 2, [0, 1])


class Raises(Notes):
    def forward(self, x):
        raise CompressionError("said so")


def test_devices_are_looked_at_before_anything_is_moved():
    with pytest.raises(CompressionError, match="'cuda:99'.*one is none of this machine"):
        checked_devices(["cpu", "cuda:99"])
    with pytest.raises(CompressionError, match="and here is no accelerator"):
        checked_devices([])
