"""FSDP 2 in two processes over gloo, against one process that has the whole model."""

import json
import re

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from hf_compress.checkpoints.manifest import Manifest
from hf_compress.jobs.train.export_run import export_run
from hf_compress.pruning.compute import measure_sparsity
from hf_compress.quantization.fake_quantize import weight_qparams
from hf_compress.quantization.quantizable import prepared
from hf_compress.training.sharded_checkpoint import form_of, missing_part
from tests.distributed.fsdp2_runs import JOBS, STEPS, run
from tests.distributed.launch import forked, forked_from_a_new_one, made_once
from tests.training.runs import assert_equal_bits

FIRST = next(iter(JOBS))
FORMS = ("SHARDED_STATE_DICT", "FULL_STATE_DICT")


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """What two processes left; started once, because an interpreter takes longer to load than a run to end."""
    parts = "runs,settings,saving,sharding_later,adapted,refusals,recipe"
    return made_once(
        tmp_path_factory, "fsdp2", lambda folder: forked("tests/distributed/fsdp2_worker.py", str(folder), parts)
    )


def compare_with_one_process(folder, name, processes, tmp_path):
    alone = run(name, tmp_path, processes=1)
    alone.train()
    expected = dict(alone.model.named_parameters())
    found = [torch.load(folder / f"{name}-{rank}.pt", weights_only=True) for rank in range(processes)]
    for other in found[1:]:
        assert_equal_bits(found[0]["weights"], other["weights"])
        assert_equal_bits(found[0]["scales"], other["scales"])
        assert found[0]["sparsity"] == other["sparsity"] and found[0]["zeros"] == other["zeros"]
    weights = found[0]["weights"]
    assert weights.keys() == expected.keys()
    for key, value in expected.items():
        # Sums of gradients in another order; 1e-5 of weights of a size of 0.02 to 1.
        torch.testing.assert_close(weights[key], value.detach(), rtol=0, atol=1e-5, msg=key)
        assert torch.equal(weights[key] == 0, value == 0), key
    job = alone.pruning
    assert found[0]["sparsity"][-1] == measure_sparsity(alone.model, job)[""]
    for step, sparsity in enumerate(found[0]["sparsity"], start=1):
        # Layers round their own share of 512 weights and more.
        assert sparsity == pytest.approx(job.schedule.sparsity(step, STEPS), abs=2e-3), step
    for key, module in prepared(alone.model.named_modules()).items():
        scale = weight_qparams(module.weight.detach(), module.qat_scheme.weights)[0]
        torch.testing.assert_close(found[0]["scales"][key], scale, rtol=0.1, atol=0)  # those of the step before
    losses = [entry["loss"] for entry in alone.state.log_history if "loss" in entry]
    assert found[0]["losses"] == pytest.approx(losses, abs=1e-4)


@pytest.mark.parametrize("name", JOBS)
def test_shards_train_to_the_weights_masks_and_scales_of_one_process(name, done, tmp_path):
    compare_with_one_process(done / "runs", name, 2, tmp_path)


@pytest.mark.slow  # compiling takes longer than all that is tried with the same bits in the worker
def test_compiling_changes_no_bit(tmp_path):
    """Compared in the worker."""
    forked("tests/distributed/fsdp2_worker.py", str(tmp_path), "compiled")


@pytest.mark.slow
def test_four_processes_train_to_the_weights_of_one(tmp_path):
    forked("tests/distributed/fsdp2_worker.py", str(tmp_path), "runs", processes=4)
    for name in JOBS:
        compare_with_one_process(tmp_path / "runs", name, 4, tmp_path)


def test_evaluation_offloading_and_checkpointing_change_no_bit(done):
    """Compared in the worker; mixed precision changes the arithmetic and nothing else."""
    first, second = (torch.load(done / "settings" / f"ends{rank}.pt", weights_only=True) for rank in (0, 1))
    for name in ("plain", "bf16"):
        assert_equal_bits(first[name], second[name])
    differences = [float((first["bf16"][key] - first["plain"][key]).abs().max()) for key in first["plain"]]
    assert 0 < max(differences) < 0.05


@pytest.mark.parametrize("form", FORMS)
def test_a_checkpoint_of_shards_is_whole_and_has_its_sidecar(form, done):
    checkpoint = done / "saving" / form / "checkpoint-3"
    assert form_of(checkpoint) == form and missing_part(checkpoint) is None
    known = Manifest.read(checkpoint, "")
    assert known.kind == "checkpoint" and known.facts["step"] == 3 and known.facts["processes"] == 2
    assert 0 < known.facts["sparsity"] < 0.5
    assert (checkpoint / "model.safetensors").exists() is (form == "FULL_STATE_DICT")


@pytest.mark.parametrize("form", FORMS)
def test_one_process_goes_on_from_the_checkpoint_of_two(form, done, tmp_path):
    checkpoint = done / "saving" / form / "checkpoint-3"
    settings = {"save_strategy": "no", "optim": "adamw_torch"}
    alone = run(FIRST, tmp_path / "alone", processes=1, **settings)
    alone.train(resume_from_checkpoint=str(checkpoint))
    ended = torch.load(done / "saving" / form / "ended.pt", weights_only=True)
    for key, value in alone.model.named_parameters():
        # The same rows in one batch; AdamW divides by the size of a gradient, so roundings grow.
        torch.testing.assert_close(value.detach(), ended[key], rtol=0, atol=1e-2)
    moved = max(float((value.detach() - ended[key]).abs().max()) for key, value in alone.model.named_parameters())
    fresh = run(FIRST, tmp_path / "fresh", processes=1, **settings)
    begun = max(float((value.detach() - ended[key]).abs().max()) for key, value in fresh.model.named_parameters())
    assert moved < begun / 20


@pytest.mark.parametrize("form", FORMS)
def test_what_was_finalized_in_shards_loads_in_one_process_as_what_was_trained(form, done, tmp_path):
    """By stock transformers, against the rounded forward of the weights that were saved dense."""
    folder = done / "saving" / form
    stored = load_file(folder / "final" / "model.safetensors")
    assert any(name.endswith("weight_packed") for name in stored)
    loaded, info = AutoModelForCausalLM.from_pretrained(folder / "final", output_loading_info=True)
    assert not any(info.values())
    alone = run(FIRST, tmp_path / "alone", processes=1)
    alone.model.load_state_dict(load_file(folder / "dense" / "model.safetensors"), strict=False)
    for module in prepared(alone.model.named_modules()).values():
        module.qat_enabled = True
    tokens = torch.arange(3, 15).view(1, 12)
    with torch.no_grad():
        torch.testing.assert_close(loaded(tokens).logits, alone.model.eval()(tokens).logits, rtol=0, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["fsdp2", "zero3"])
def test_a_process_holds_one_tensor_and_not_the_model_while_it_is_put_together(strategy, tmp_path, monkeypatch):
    if strategy == "zero3":
        pytest.importorskip("deepspeed")
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "65536")  # what is freed goes back to the system at once
    forked_from_a_new_one("tests/distributed/memory_worker.py", str(tmp_path), strategy)
    for rank in (0, 1):
        said = json.loads((tmp_path / f"said{rank}.json").read_text())
        assert said["left"] == []
        for action in ("save_model", "finalize"):  # parts in a row, the whole of them, a copy of that
            assert said[action] < 4 * said["largest"] < said["model"] / 4, (rank, action, said)


@pytest.mark.slow
def test_the_first_process_loads_and_the_others_hold_nothing(tmp_path, monkeypatch):
    """Student and teacher of 151 MB each, until training begins."""
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "65536")
    forked_from_a_new_one("tests/distributed/memory_worker.py", str(tmp_path), "loading")
    first, second = (json.loads((tmp_path / f"said{rank}.json").read_text()) for rank in (0, 1))
    assert min(first["by all"], second["by all"], first["by the first"]) > 300_000_000
    assert second["by the first"] < 10_000_000


def test_the_main_job_trains_in_shards_and_one_process_exports_the_same(done):
    """Dense stage, compression, export and report; made anew from the last checkpoint by a process alone."""
    folder = done / "recipe" / "out"
    report = json.loads((folder / "compressed" / "report.json").read_text())
    assert [row["name"] for row in report["rows"]] == ["dense", "ours"]
    assert report["rows"][-1]["sparsity"] == pytest.approx(0.5, abs=1e-3)
    assert form_of(folder / "checkpoint-4") == "SHARDED_STATE_DICT"
    assert "xla" not in (folder / "recipe.yaml").read_text()  # as it was written, not as a library completed it
    (folder / "compressed").rename(folder.parent / "first")
    export_run(folder)
    first, again = (load_file(place / "model.safetensors") for place in (folder.parent / "first", folder / "compressed"))
    assert_equal_bits(first, again)


SAID = {
    "evaluated before": r"^transformers \S+ shards a model when its training begins and cannot evaluate it before; train",
    "evaluated after": "^the finalized model is whole in the first process alone, .*; evaluate before finalize",
    "trained on": "^the model is finalized",
    "no whole model": "other was written by a run without FSDP and holds no model that .*; resume without FSDP",
    "a missing shard": r"checkpoint-3 has no whole optimizer_0/__0_0\.distcp; name a checkpoint",
    "no whole checkpoint": "no checkpoint was written to its end; remove them",
    "another recipe in one process": r"^process 1 was started with pruning\.criterion: \S+, and .* 0 with .*times_input",
    "another argument in one process": "^process 1 was started with learning_rate: 0.1, and .* 0 with learning_rate: 0.2;",
    "NaN in one process": "up_proj.weight holds NaN or infinity",
    "cpu_ram_efficient_loading": "^cpu_ram_efficient_loading sends weights alone, and LlamaForCausalLM saves buffers too",
    "a teacher that does not fit": "^the teacher '.*nowhere' cannot be loaded as a model like LlamaForCausalLM",
    "tensor parallelism": "^tp_size=2: compression under tensor parallelism is not supported",
    "projections": r"^losses with projections \(trained parts beside the model\) under FSDP",
    "0-dim": "^FSDP 2 shards no parameter without a dimension",
    "mixed types": "^FSDP 2 shards weights of one type together",
    "an adapter that unties": "^FSDP 2 shards tied weights together, and the adapter has a copy of its own",
    "more than its config": "LlamaForCausalLM is more than they make; train with DDP$",
}


def test_every_process_stops_with_the_same_sentence(done):
    first, second = (json.loads((done / "refusals" / f"said{rank}.json").read_text()) for rank in (0, 1))
    assert first == second and first.keys() == SAID.keys()
    for name, pattern in SAID.items():
        assert re.search(pattern, first[name]), (name, first[name])
        assert "\n" not in first[name]
