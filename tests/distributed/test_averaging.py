"""Averages under DDP and under FSDP2, two processes over gloo."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from hf_compress.training.averaging.snapshots import Snapshots
from tests.distributed.launch import forked
from tests.training.runs import assert_equal_bits


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("averaging")
    forked("tests/distributed/averaging_worker.py", str(folder))
    return folder


def recursion(weights, decay=0.5):
    average = weights[0]
    for t in range(1, len(weights)):
        d = min(decay, (1 + t) / (10 + t))
        average = {name: d * average[name].double() + (1 - d) * weights[t][name].double() for name in average}
    return average


def mean(points):
    return {name: torch.stack([point[name].double() for point in points]).mean(0) for name in points[0]}


def assert_near(tensors, expected):
    assert set(tensors) == set(expected)
    for name in expected:  # fp32 against fp64, a few roundings
        torch.testing.assert_close(tensors[name].double(), expected[name].double(), rtol=0, atol=1e-6)


def test_both_processes_of_ddp_hold_the_same_right_average_and_resume_exactly(runs):
    first, second = (torch.load(runs / "replicated" / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
    weights = list(first["weights"].values())
    assert_near(first["ema"], recursion(weights))
    assert_near(first["swa"], mean([weights[step] for step in (2, 4, 6)]))
    for name in ("ema", "swa"):
        assert_equal_bits(first[name], second[name])
        assert_equal_bits(first[name], first[f"{name}_resumed"])
        assert_equal_bits(second[name], second[f"{name}_resumed"])
        loaded = AutoModelForCausalLM.from_pretrained(runs / "replicated" / "averaged" / name)
        assert_equal_bits(dict(loaded.named_parameters()), first[name])


def test_sharded_average_is_right_and_written_as_a_whole_checkpoint(runs):
    weights = torch.load(runs / "sharded" / "rank0.pt", weights_only=True)["weights"]
    expected = {"ema": recursion(weights), "swa": mean([weights[step] for step in (1, 3, 5)])}
    for name in expected:
        for folder in ("averaged", "checkpoint-6/averaged"):
            loaded, info = AutoModelForCausalLM.from_pretrained(runs / "sharded" / folder / name, output_loading_info=True)
            assert not any(info.values())
            assert_near(dict(loaded.named_parameters()), expected[name])
    first = AutoModelForCausalLM.from_pretrained(runs / "sharded" / "checkpoint-3" / "averaged" / "ema")
    assert_near(dict(first.named_parameters()), recursion(weights[:4]))


def test_sharded_evaluation_sees_the_average(runs):
    results = [torch.load(runs / "sharded" / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]
    assert results[0]["losses"] == results[1]["losses"]
    loaded = AutoModelForCausalLM.from_pretrained(runs / "sharded" / "averaged" / "ema").eval()
    tokens = torch.randint(3, 60, (2, 8), generator=torch.Generator().manual_seed(100))
    with torch.no_grad():
        expected = loaded(input_ids=tokens, labels=tokens).loss.item()
    assert results[0]["losses"][-2:] == pytest.approx([expected] * 2, abs=1e-6)  # sharded matrices, other kernels


def test_sharded_snapshots_are_whole_checkpoints(runs):
    weights = torch.load(runs / "sharded" / "rank0.pt", weights_only=True)["weights"]
    folders = Snapshots.folders(runs / "sharded")
    assert [folder.name for folder in folders] == ["step-3", "step-6"]
    for folder, step in zip(folders, (3, 6), strict=True):
        assert_equal_bits(dict(AutoModelForCausalLM.from_pretrained(folder).named_parameters()), weights[step])


def test_a_stock_trainer_shards_averages_and_resumes_exactly(runs):
    """What the worker asserts in both processes, and what it wrote."""
    first, second = (torch.load(runs / "trainer" / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
    assert_equal_bits(first, second)
    loaded = AutoModelForCausalLM.from_pretrained(runs / "trainer" / "averaged" / "averaged" / "ema")
    assert_equal_bits(dict(loaded.named_parameters()), first)
