"""One of several processes that share the weights: `fsdp2_worker.py <folder> <part>,<part>...`."""

import gc
import json
import os
import shutil
import sys
from pathlib import Path

import torch
from accelerate import ParallelismConfig
from accelerate.utils import patch_environment
from safetensors.torch import load_file
from torch.distributed.tensor import DTensor
from transformers import TrainerCallback

from hf_compress import CompressionError, Cubic, Distillation, ForwardKL, ModelTeacher, Pruning, _distributed
from hf_compress.jobs.train.baseline import dense_models
from hf_compress.pruning.compute import measure_sparsity
from hf_compress.quantization.fake_quantize import weight_qparams
from hf_compress.quantization.quantizable import prepared
from hf_compress.recipe.recipe import Recipe
from tests.distillation.inside import States
from tests.distributed import adapted_runs
from tests.distributed.fsdp2 import allow_sharding_on_cpu, fsdp2, full_weights
from tests.distributed.fsdp2_runs import COLUMNS, JOBS, run
from tests.tiny import tiny_llama
from tests.training.runs import llama_trainer

FIRST = next(iter(JOBS))
SHORT = {"max_steps": 4}


def processes():
    """As the launcher says, before there is a group."""
    return int(os.environ["WORLD_SIZE"])


def trainer_of(name, folder, **changes):
    return run(name, folder, processes(), **{**fsdp2(), **changes})


class Watch(TrainerCallback):
    """The sparsity after every step, over all shards, and the scales that the last forward pass computed with."""

    def __init__(self):
        self.sparsity, self.scales = [], {}

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        for name, module in prepared(model.named_modules()).items():
            module.register_forward_pre_hook(lambda module, inputs, name=name: self._note(name, module))

    def _note(self, name, module):
        if module.qat_enabled:
            self.scales[name] = weight_qparams(module.weight.detach(), module.qat_scheme.weights)[0].clone()

    def on_step_end(self, args, state, control, model=None, **kwargs):
        if self.trainer.pruning is not None:
            self.sparsity.append(measure_sparsity(model, self.trainer.pruning)[""])


def watched(name, folder, **changes):
    """A run to its end: the trainer and what was seen."""
    trainer, watch = trainer_of(name, folder, **changes), Watch()
    watch.trainer = trainer
    trainer.add_callback(watch)
    trainer.train()
    assert any(isinstance(parameter, DTensor) for parameter in trainer.model.parameters()), "nothing is sharded"
    return trainer, watch


def runs(folder):
    """Every job; what it ends with."""
    for name in JOBS:
        trainer, watch = watched(name, folder)
        masks = trainer.progress.masks
        found = {
            "weights": full_weights(trainer.model),
            "scales": watch.scales,
            "sparsity": watch.sparsity,
            "zeros": int(masks.num_zeros()),
            "losses": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry],
        }
        torch.save(found, folder / f"{name}-{torch.distributed.get_rank()}.pt")


def settings(folder):
    """What must not change a bit, and what changes the arithmetic alone; pruned at the start and rounded at the end."""
    plain = full_weights(watched(FIRST, folder, **SHORT)[0].model)
    evaluated = {"eval_strategy": "steps", "eval_steps": 2, "eval_on_start": True}
    sizes_of_1 = ParallelismConfig(dp_shard_size=processes(), tp_size=1, cp_size=1)
    same = {
        "evaluated, offloaded, checkpointed by transformers": {
            **evaluated,
            "gradient_checkpointing": True,
            **fsdp2(cpu_offload=True),
        },
        "checkpointed, sizes of 1": {**fsdp2(activation_checkpointing=True), "parallelism_config": sizes_of_1},
    }
    for name, changes in same.items():
        ends_as(plain, name, folder, **SHORT, **changes)
    for teacher in (ModelTeacher(model=tiny_llama(seed=0), shard="like_student"), ModelTeacher(shard="like_student")):
        taught = JOBS[FIRST]() | {"distillation": Distillation(teacher=teacher, losses=[(0.7, ForwardKL(temperature=2.0))])}
        trainer = trainer_of(FIRST, folder, jobs=taught, **SHORT)
        trainer.train()
        loaded = trainer._own_loss.distillation.teacher.model
        assert all(isinstance(parameter, DTensor) for parameter in loaded.parameters())
        for one, value in full_weights(trainer.model).items():
            torch.testing.assert_close(value, plain[one], rtol=0, atol=1e-6)  # other kernels for parts in a row
    loading(folder, plain, full_weights(trainer.model))
    made = dense_models(trainer, None)  # the frozen copy, whole again in the first process
    if _distributed.is_main():
        for one, value in made().state_dict().items():
            assert torch.equal(value, tiny_llama(seed=0).state_dict()[one]), one
    half, watch = watched(FIRST, folder, bf16=True, **SHORT)
    assert watch.sparsity[-1] == 0.5
    assert {p.dtype for p in half.model.parameters()} == {torch.float32}
    torch.save({"plain": plain, "bf16": full_weights(half.model)}, folder / f"ends{torch.distributed.get_rank()}.pt")


def ends_as(plain, name, folder, **changes):
    trainer, watch = watched(FIRST, folder, **changes)
    ended = full_weights(trainer.model)
    assert ended.keys() == plain.keys() and watch.sparsity[-1] == 0.5, name
    assert all(torch.equal(ended[one], plain[one]) for one in plain), name


def compiled(folder):
    """Quantization begins at step 5: a graph that had kept it off would show here."""
    plain = full_weights(watched(FIRST, folder)[0].model)
    ends_as(plain, "compiled", folder, torch_compile=True, torch_compile_backend="eager")


def loading(folder, whole_teacher, sharded_teacher):
    """The first process has the weights, and the other none until they are cut; the same bits."""
    source = folder / "source"
    if _distributed.is_main():
        tiny_llama(seed=0).save_pretrained(source)
    _distributed.barrier()
    ways = {
        "a copy": (ModelTeacher(), whole_teacher, 0),
        # What lies in a file begins anywhere, and sums are then taken in another order.
        "a checkpoint in shards": (ModelTeacher(model=str(source), shard="like_student"), sharded_teacher, 1e-6),
    }
    for name, (teacher, expected, tolerance) in ways.items():
        with torch.device("cpu" if _distributed.is_main() else "meta"):
            student = tiny_llama(seed=0)
        jobs = JOBS[FIRST]() | {"distillation": Distillation(teacher=teacher, losses=[(0.7, ForwardKL(temperature=2.0))])}
        changes = {"jobs": jobs, "model": student, **fsdp2(cpu_ram_efficient_loading=True), **SHORT}
        trainer = trainer_of(FIRST, folder, **changes)
        taught = trainer._own_loss.distillation.teacher.model
        assert all(one.is_meta is not _distributed.is_main() for model in (student, taught) for one in model.parameters())
        trainer.train()
        for one, value in full_weights(trainer.model).items():
            torch.testing.assert_close(value, expected[one], rtol=0, atol=tolerance, msg=f"{name}: {one}")


def saving(folder):
    """Checkpoints of both forms: resumed here, saved whole, finalized; other processes of the test go on with them."""
    main = _distributed.is_main()
    for form in ("SHARDED_STATE_DICT", "FULL_STATE_DICT"):
        place, changes = folder / form, {**fsdp2(form), "save_strategy": "steps", "save_steps": 3, "optim": "adamw_torch"}
        straight = trainer_of(FIRST, place, **changes)
        straight.train()
        ended = full_weights(straight.model)
        # Read in the form in which it is there; that of the run itself is tried with adapters.
        other = "FULL_STATE_DICT" if form == "SHARDED_STATE_DICT" else "SHARDED_STATE_DICT"
        resumed = trainer_of(FIRST, place / "again", **{**changes, **fsdp2(other)}, save_only_model=False)
        resumed.train(resume_from_checkpoint=str(place / "checkpoint-3"))
        again = full_weights(resumed.model)
        assert all(torch.equal(ended[name], again[name]) for name in ended), form
        straight.save_model(str(place / "dense"))
        stored = load_file(place / "dense" / "model.safetensors")
        assert all(torch.equal(stored[name], ended[name]) for name in stored)
        model = straight.finalize()
        assert straight.finalized_model is model is straight.model
        assert all(parameter.is_meta is not main for parameter in model.parameters())
        straight.save_model(str(place / "final"))
        if main:
            torch.save(ended, place / "ended.pt")
        with patch_environment(ACCELERATE_USE_FSDP="false"):  # where accelerate notes that it has sharded
            replicated = run(FIRST, place / "ddp", processes(), optim="adamw_torch")
        replicated.train(resume_from_checkpoint=str(place / "checkpoint-3"))
        assert all(torch.equal(ended[name], value) for name, value in full_weights(replicated.model).items()), form


def sharding_later(folder):
    """Four steps under DDP and four in shards are eight under DDP; a state of other weights is refused by all."""
    settings = {"optim": "adamw_torch", "save_strategy": "steps", "save_steps": 4}
    with patch_environment(ACCELERATE_USE_FSDP="false"):
        straight = run(FIRST, folder, processes(), **settings)
    straight.train()
    assert not any(isinstance(parameter, DTensor) for parameter in straight.model.parameters())
    later = trainer_of(FIRST, folder / "later", **{**settings, "save_strategy": "no"})
    later.train(resume_from_checkpoint=str(folder / "checkpoint-4"))
    ended = dict(straight.model.named_parameters())
    for name, value in full_weights(later.model).items():
        assert torch.equal(value, ended[name]), name
    if _distributed.is_main():
        other = torch.optim.AdamW([torch.nn.Parameter(torch.ones(3))])
        torch.save(other.state_dict(), folder / "checkpoint-4" / "optimizer.pt")
    _distributed.barrier()
    try:
        trainer_of(FIRST, folder / "other", **settings).train(resume_from_checkpoint=str(folder / "checkpoint-4"))
    except CompressionError as error:
        assert "is not one number for each weight of this run" in str(error)
    else:
        raise AssertionError("a state of other weights was taken")


def adapted(folder):
    """Adapters are trained in shards; the form of checkpoints is no matter, nor is it to a run that does not shard."""
    for form in ("SHARDED_STATE_DICT", "FULL_STATE_DICT"):
        adapted_runs.adapted(folder / form, processes(), **fsdp2(form))


def refusals(folder):
    """One sentence, the same in every process, and none waits."""
    said, rank = {}, torch.distributed.get_rank()

    def note(name, action):
        try:
            action()
        except CompressionError as error:
            said[name] = str(error)
        _distributed.barrier()

    note("evaluated before", lambda: trainer_of(FIRST, folder).evaluate())
    finished = watched(FIRST, folder, **SHORT)[0]
    finished.finalize()
    note("evaluated after", lambda: finished.evaluate())
    note("trained on", lambda: finished.train())
    note("no whole model", lambda: trainer_of(FIRST, folder).train(resume_from_checkpoint=str(folder / "other")))
    torn = folder / "checkpoint-3"
    note("a missing shard", lambda: trainer_of(FIRST, folder).train(resume_from_checkpoint=str(torn)))
    note("no whole checkpoint", lambda: trainer_of(FIRST, folder).train(resume_from_checkpoint=True))
    other = trainer_of("2:4, taught" if rank else COLUMNS, folder)
    note("another recipe in one process", lambda: other.train())
    learns = trainer_of(FIRST, folder, learning_rate=0.1 if rank else 0.2)
    note("another argument in one process", lambda: learns.train())
    unfinished = trainer_of(FIRST, folder, **SHORT)
    unfinished.train()
    with torch.no_grad():  # a part of one process alone
        first = next(parameter for name, parameter in unfinished.model.named_parameters() if "up_proj" in name)
        if rank == 1:
            first.to_local()[-1, -1] = torch.nan
    note("NaN in one process", lambda: unfinished.finalize())
    counts = tiny_llama(seed=0)
    counts.register_buffer("count", torch.zeros(3))
    ram = fsdp2(cpu_ram_efficient_loading=True)
    note("cpu_ram_efficient_loading", lambda: trainer_of(FIRST, folder, model=counts, **ram))
    with torch.device("cpu" if rank == 0 else "meta"):
        half = tiny_llama(seed=0)
    nobody = {
        "distillation": Distillation(teacher=ModelTeacher(model=str(folder / "nowhere")), losses=[(0.5, ForwardKL())])
    }
    note("a teacher that does not fit", lambda: trainer_of(FIRST, folder, jobs=nobody, model=half, **ram))
    wide = ModelTeacher(model=tiny_llama(seed=1, hidden_size=48))
    projected = {"distillation": Distillation(teacher=wide, losses=[(0.5, States())])}
    split = {"parallelism_config": ParallelismConfig(tp_size=processes())}
    note("tensor parallelism", lambda: trainer_of(FIRST, folder, **split))
    note("projections", lambda: _other_jobs(folder, projected))
    scalar = tiny_llama(seed=0)
    scalar.register_parameter("temperature", torch.nn.Parameter(torch.ones(())))
    pruned = {"pruning": Pruning(schedule=Cubic(final=0.5))}
    note("0-dim", lambda: _other_jobs(folder, pruned, scalar))
    mixed = tiny_llama(seed=0)
    mixed.lm_head.to(torch.float64)
    note("mixed types", lambda: _other_jobs(folder, pruned, mixed))
    more = tiny_llama(seed=0)
    more.adapter = torch.nn.Linear(4, 4)
    note("more than its config", lambda: _other_jobs(folder, pruned, more))
    said["an adapter that unties"] = adapted_runs.refused(folder, processes(), **fsdp2())
    (folder / f"said{rank}.json").write_text(json.dumps(said))


def _other_jobs(folder, jobs, model=None):
    return llama_trainer(folder, jobs, model=model, **fsdp2())


def checkpoints_for_refusals(folder):
    """One of a run without FSDP, and one that lacks a shard."""
    if _distributed.is_main():
        (folder / "other").mkdir(parents=True)
        (folder / "other" / "adapter_model.safetensors").touch()
    trainer = trainer_of(FIRST, folder, save_strategy="steps", save_steps=3, max_steps=3)
    trainer.train()
    if _distributed.is_main():
        next((folder / "checkpoint-3" / "optimizer_0").glob("*.distcp")).unlink()
        shutil.rmtree(folder / "checkpoint-6", ignore_errors=True)
    _distributed.barrier()


RECIPE = """\
job: train
model:
  config: {{model_type: llama, hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2, num_attention_heads: 4,
            num_key_value_heads: 2, max_position_embeddings: 64}}
tokenizer: {{vocab_size: 300}}
task: {{name: causal_lm, length: 32}}
data: {{path: {data}}}
dense: {{}}
pruning: {{schedule: {{name: cubic, final: 0.5, end: 50%, every: 1}}}}
quantization: {{scheme: {{name: W4A16, group_size: 32}}, begin: 50%}}
distillation: {{teacher: {{name: model, shard: like_student}}, losses: [{{weight: 0.5, loss: forward_kl}}]}}
evaluation: {{untrained: false, examples: 0}}
training: {{output_dir: {out}, max_steps: 4, per_device_train_batch_size: 2, save_steps: 2, use_cpu: true,
           fsdp: true, fsdp_config: {{state_dict_type: SHARDED_STATE_DICT, cpu_ram_efficient_loading: true}}}}
"""


def recipe(folder):
    """The main job; it ends the process group."""
    file = folder / "recipe.yaml"
    if _distributed.is_main():
        texts = [f"sentence {n} says that {n} times {n} is {n * n} and nothing else follows from it" for n in range(200)]
        (folder / "train.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts))
        file.write_text(RECIPE.format(data=folder / "train.jsonl", out=folder / "out"))
    _distributed.barrier()
    Recipe.load(file).run(resume=False)


PARTS = {
    "runs": runs,
    "settings": settings,
    "compiled": compiled,
    "saving": saving,
    "sharding_later": sharding_later,
    "adapted": adapted,
    "refusals": refusals,
    "recipe": recipe,
}


if __name__ == "__main__":
    torch.set_num_threads(1)
    gc.freeze()  # every training collects, and would walk through the libraries
    allow_sharding_on_cpu()
    for part in sys.argv[2].split(","):
        folder = Path(sys.argv[1]) / part
        folder.mkdir(parents=True, exist_ok=True)
        if part == "refusals":
            checkpoints_for_refusals(folder)
        PARTS[part](folder)
    _distributed.leave()
