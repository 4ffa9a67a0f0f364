"""DeepSpeed ZeRO in two processes over gloo: the run of one process, and sparse wherever weights are kept."""

import importlib.util
import json
import re

import pytest
import torch
from safetensors.torch import load_file
from transformers import LlamaForCausalLM

from tests.distributed import deepspeed_on_cpu
from tests.distributed.launch import forked, made_once
from tests.distributed.zero_worker import SETTINGS
from tests.tiny import tiny_llama
from tests.training.runs import assert_equal_bits, llama_trainer, weights

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec(deepspeed_on_cpu.PACKAGE) is None, reason="DeepSpeed is not installed (pip install deepspeed)"
)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    return made_once(tmp_path_factory, "zero", lambda folder: forked("tests/distributed/zero_worker.py", str(folder)))


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The same run in one process, with the whole batch."""
    settings = {**SETTINGS, "per_device_train_batch_size": 4, "save_strategy": "no"}
    trainer = llama_trainer(tmp_path_factory.mktemp("alone"), **settings)
    trainer.train()
    return trainer


def read(folder, name, processes=2):
    return [torch.load(folder / f"{name}-{rank}.pt", weights_only=True) for rank in range(processes)]


def compare_with_one_process(found, alone):
    for other in found:
        assert_equal_bits(found[0]["weights"], other["weights"])
        assert_equal_bits(other["masks"], alone.progress.masks.keep)
    start = weights(tiny_llama(seed=0))
    for name, expected in weights(alone.model).items():
        torch.testing.assert_close(found[0]["weights"][name], expected, rtol=0.0, atol=1e-5)
        assert float((expected - start[name]).abs().max()) > 1e-4, "training moved it by more than is allowed here"


@pytest.mark.parametrize("run", ["stage1", "stage2", "stage3", "cut"])
def test_pruning_quantization_and_a_teacher_end_as_in_one_process(run, done, alone):
    """Also where the student is cut while it is loaded; all but that are resumed to the same bits in the worker."""
    compare_with_one_process(read(done, run), alone)


@pytest.mark.slow
@pytest.mark.parametrize(("what", "processes"), [("four", 4), ("compiled", 2)])
def test_four_processes_and_compiled_ones_train_to_the_weights_of_one(what, processes, alone, tmp_path):
    """Compiled with activation checkpointing; each resumed to the same bits in the worker."""
    forked("tests/distributed/zero_worker.py", str(tmp_path), what, processes=processes)
    for stage in (1, 2, 3):
        compare_with_one_process(read(tmp_path, f"stage{stage}", processes), alone)


@pytest.mark.parametrize("run", ["stage1", "stage2", "stage3", "cut"])
def test_loss_norm_and_sparsity_of_every_step_are_those_of_one_process(run, done, alone):
    """The norm is that of unpruned weights: gradients are masked before DeepSpeed clips them."""
    logs = read(done, run)[0]["logs"]
    expected = [entry for entry in alone.state.log_history if "loss" in entry]
    assert len(logs) == len(expected) == SETTINGS["max_steps"]
    for one, other in zip(logs, expected, strict=True):
        # With quantization a weight on the edge of two integers may fall on the other side.
        tolerance = 1e-4 if one["step"] < 5 else 1e-2
        for key in ("loss", "task_loss", "distillation_loss", "grad_norm"):
            assert one[key] == pytest.approx(other[key], rel=tolerance, abs=1e-5), key
        assert one["sparsity"] == other["sparsity"]
    assert logs[-1]["sparsity"] == 0.5 and min(entry["grad_norm"] for entry in logs) > SETTINGS["max_grad_norm"]


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_the_checkpoint_as_deepspeed_puts_it_together_is_the_sparse_model(stage, done):
    first = read(done, f"stage{stage}")[0]
    found = torch.load(done / f"zero_to_fp32-{stage}.pt", weights_only=True)
    stored = load_file(done / f"stage{stage}" / "checkpoint-8" / "model.safetensors")
    for name, keep in first["masks"].items():
        assert not found[f"{name}.weight"][~keep].any() and not stored[f"{name}.weight"][~keep].any()
    for name, tensor in stored.items():
        assert torch.equal(tensor, first["weights"][name]) and torch.equal(tensor, found[name]), name


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_the_checkpoint_says_how_far_the_run_is(stage, done):
    known = json.loads((done / f"stage{stage}" / "checkpoint-8" / "compression.json").read_text())
    assert known["sparsity"] == 0.5 and known["processes"] == 2
    assert known["progress"]["pruned"] is True and known["progress"]["quantized"] is True
    assert 0.2 < known["sparsity_of_all_weights"] < 0.5


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_weights_in_16_bits_are_pruned_alike_in_both_processes(stage, done):
    """Their masters are looked at in the worker."""
    first, second = read(done, f"half{stage}")
    assert_equal_bits(first["weights"], second["weights"])
    assert first["logs"][-1]["sparsity"] == 0.5


@pytest.mark.parametrize("run", ["stage2", "stage3", "cut"])
def test_save_model_writes_the_whole_model(run, done):
    """Under ZeRO-3 whether or not checkpoints gather it."""
    expected = read(done, run)[0]["weights"]
    found = load_file(done / f"trained-{run}" / "model.safetensors")
    assert_equal_bits(found, {name: expected[name] for name in found})
    assert set(expected) - set(found) <= {"lm_head.weight"}, "but for what is tied"


@pytest.mark.parametrize("stage", [2, 3])
def test_the_finalized_model_loads_packed_and_sparse(stage, done):
    """It comes from the resumed run, whose weights equal the straight one's bit for bit in the worker."""
    assert any(name.endswith("weight_packed") for name in load_file(done / f"result{stage}" / "model.safetensors"))
    model = LlamaForCausalLM.from_pretrained(done / f"result{stage}", dtype=torch.float32)
    with torch.no_grad():
        model(input_ids=torch.arange(5).view(1, 5))
    for name, keep in read(done, f"stage{stage}")[0]["masks"].items():
        weight = model.get_submodule(name).weight
        assert weight.any() and not weight[~keep].any()


def test_the_main_job_ends_with_its_report(done):
    rows = json.loads((done / "job" / "compressed" / "report.json").read_text())["rows"]
    assert rows[-1]["name"] == "ours" and rows[-1]["sparsity"] == pytest.approx(0.5, abs=1e-3)
    assert (done / "job" / "checkpoint-4" / "latest").is_file() and (done / "job" / "dense").is_dir()


def test_what_cannot_be_is_refused_alike_in_both_processes(done):
    first, second = (json.loads((done / f"heard{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    for name, words in {
        "copy": "cut when they were loaded, so no frozen copy .* name the teacher: model is the student's own folder",
        "stage 0": "set zero_optimization.stage to 1, 2 or 3",
        "adafactor": "flat pieces of weights, .* set optim to adamw_torch",
        "four processes": "written by 4 processes, and DeepSpeed reads a state by as many .* start 4 processes",
        "another stage": "written under ZeRO 2, whose state ZeRO 3 cannot read; go on as it was written",
        "another strategy": "is that of a run without it, which this run cannot read; go on as it was written",
    }.items():
        assert re.search(words, first[name]), name
