"""Two processes on one machine: DDP over gloo, started by torchrun and by `accelerate launch`."""

import json
import re

import pytest
import torch
from safetensors.torch import load_file
from transformers import default_data_collator

from hf_compress import Calibration, Cubic, Movement, Pruning
from hf_compress.calibration.collect import collect
from hf_compress.calibration.examples import calibration_batches
from tests.distributed.launch import accelerate, forked, made_once, torchrun
from tests.small import write_wordy_model
from tests.tiny import tiny_llama
from tests.training.ragged import STATES, TASKS
from tests.training.runs import assert_equal_bits, llama_trainer, text_rows
from tests.training.test_gradient_invariance import closeness, gradients


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """What two processes left; started once, because an interpreter takes longer to load than a run to end."""
    runs = ",".join([*TASKS, STATES])
    return made_once(tmp_path_factory, "two", lambda folder: forked("tests/distributed/worker.py", str(folder), runs))


def test_gradient_and_logged_losses_over_two_processes_equal_those_of_one(done, tmp_path):
    for task in [*TASKS, STATES]:
        logs = [json.loads((done / f"{task}.json").read_text())]
        reference = gradients(task, 8, 1, tmp_path / task, logs)
        decided = [] if task == "regression" else ["teacher_agreement"]  # numbers are never alike
        for key in ("loss", "task_loss", "distillation_loss", *decided):
            assert logs[0][key] == pytest.approx(logs[1][key], rel=1e-3), (task, key)
        split = torch.load(done / f"{task}.pt", weights_only=True)
        assert split.keys() == reference.keys()
        for name in reference:
            torch.testing.assert_close(split[name], reference[name], **closeness(task))


def test_both_processes_end_with_the_same_pruned_weights_and_resume_exactly(done):
    folder = done / "everything"
    first, second = (torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
    assert_equal_bits(first, second)
    weight = first["model.layers.0.mlp.up_proj.weight"]
    assert int((weight == 0).sum()) == weight.numel() // 2
    assert_equal_bits(first, torch.load(folder / "resumed0.pt", weights_only=True))


def test_both_processes_collect_the_statistics_of_one_and_prune_and_resume_alike(done):
    folder = done / "calibrated"
    first, second = (torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
    assert_equal_bits(first, second)
    assert_equal_bits(first, torch.load(folder / "resumed0.pt", weights_only=True))
    stats = [torch.load(folder / f"stats{rank}.pt", weights_only=True) for rank in (0, 1)]
    batches = list(calibration_batches(text_rows(), default_data_collator, Calibration(num_examples=6, batch_size=2)))
    alone = collect(tiny_llama(), batches, ["input_norm", "gram", "fisher"])
    for name, found in stats[0].items():
        assert set(found) == set(alone)
        for need, value in found.items():
            assert torch.equal(value, stats[1][name][need])
            if need != "fisher":  # whose labels each process draws for itself
                # The same rows, added up in another order.
                torch.testing.assert_close(value, alone[need][f"{name}.weight"], rtol=1e-5, atol=1e-7)


def test_what_a_criterion_adds_up_is_the_same_in_both_processes_and_in_one_and_is_resumed_exactly(done, tmp_path):
    folder = done / "accumulated"
    first = torch.load(folder / "rank0.pt", weights_only=True)
    for name in ("rank1", "resumed0", "resumed1"):
        found = torch.load(folder / f"{name}.pt", weights_only=True)
        for what in ("weights", "totals"):
            assert_equal_bits(first[what], found[what])
    alone = llama_trainer(
        tmp_path, {"pruning": Pruning(criterion=Movement(), schedule=Cubic(end="75%", every=2))}, max_steps=6
    )
    alone.train()
    for name, total in alone.progress.pruning.accumulated.totals.items():
        # Gradients of halves of the batch, averaged: the same numbers, added up in another order.
        torch.testing.assert_close(first["totals"][name], total, rtol=1e-2, atol=1e-5)


def test_a_run_of_which_one_process_is_told_to_end_goes_on_to_the_same_weights(done):
    """And a checkpoint that lacks one process's random state is passed over."""
    folder = done / "told"
    for rank in (0, 1):
        ends = torch.load(folder / f"ends{rank}.pt", weights_only=True)
        for name in ("told", "late"):
            assert_equal_bits(ends["straight"], ends[name])


HEARD = {
    "no data in one": r"^process 1: data\.path: there is no file or folder",
    "other data in one": r"^process 1 was started with data \(train\): \d+ rows .*, and process 0 with .*: \d+ rows",
    "another recipe in one": r"^process 1 was started with evaluation\.batch_size: 3, and process 0 with .*: 2; start all",
    "FSDP on CPUs": "^FSDP is asked for, and accelerate shards over accelerators alone",
    "another checkpoint in one": "^process 1 was started with resume_from_checkpoint: .*, and process 0 with .*: None",
}


def test_what_one_process_refuses_all_refuse_in_the_same_words_before_anything_is_written(done):
    first, second = (json.loads((done / "refusals" / f"heard{rank}.json").read_text()) for rank in (0, 1))
    assert first == second and not first.pop("written") and first.keys() == HEARD.keys()
    for name, pattern in HEARD.items():
        said, in_all = first[name]
        assert re.search(pattern, said), (name, said)
        assert in_all is (name != "FSDP on CPUs")  # which each finds by itself


RECIPE = """\
job: train
model: {model}
task: {{name: causal_lm, length: 32}}
data: {{path: {data}}}
dense: {{}}
shrink: {{vocabulary: {{}}, feed_forward: 32, layers: 1}}
calibration: {{num_examples: 8}}
pruning: {{schedule: {{name: cubic, final: 0.5, end: 50%, every: 1}}}}
quantization: {{scheme: {{name: W4A16, group_size: 32}}, begin: 50%}}
distillation: {{losses: [{{weight: 0.5, loss: forward_kl}}]}}
evaluation: {{untrained: false, examples: 0}}
training: {{output_dir: {out}, max_steps: 6, per_device_train_batch_size: 2, save_steps: 3, use_cpu: true}}
"""


@pytest.mark.parametrize("launcher", ["torchrun", pytest.param("accelerate", marks=pytest.mark.slow)])
def test_main_job_runs_in_two_processes(launcher, tmp_path):
    sentences = [f"sentence {n} says that {n} times {n} is {n * n} and nothing else follows from it" for n in range(200)]
    data = tmp_path / "train.jsonl"
    data.write_text("\n".join(json.dumps({"text": text}) for text in sentences))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.format(model=write_wordy_model(tmp_path / "model"), data=data, out=tmp_path / "out"))
    launch = {"torchrun": torchrun, "accelerate": accelerate}[launcher]
    printed = launch("-m", "hf_compress", "run", str(recipe))
    assert printed.count("| ours") == 1, "only the first process prints"
    state = json.loads((tmp_path / "out" / "checkpoint-6" / "trainer_state.json").read_text())
    assert state["global_step"] == 6
    report = json.loads((tmp_path / "out" / "compressed" / "report.json").read_text())
    assert "rows of the vocabulary stay" in report["reach"][0]
    assert "to 1 layers, 4 heads in 2 groups, 32 feed-forward units" in report["reach"][1]
    assert report["rows"][-1]["sparsity"] == pytest.approx(0.5, abs=1e-3)
    stored = load_file(tmp_path / "out" / "compressed" / "model.safetensors")
    assert any(name.endswith("weight_packed") for name in stored)
