"""One of two processes under DeepSpeed: `python -m torch.distributed.run ... zero_worker.py <folder>`."""

import gc
import json
import sys
from pathlib import Path

import torch

from hf_compress import Pruning, Recipe, _distributed
from hf_compress._errors import CompressionError
from hf_compress.pruning.schedules.constant import Constant
from tests.distributed import deepspeed_on_cpu
from tests.small import recipe, write_jsonl
from tests.training.runs import assert_equal_bits, llama_trainer, weights

SETTINGS = {
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 2,
    "learning_rate": 1e-4,
    "max_grad_norm": 0.2,  # below every norm of these runs, so that each step is clipped
    "logging_steps": 1,
    "save_steps": 6,
}
"""Of two processes; one has twice the batch. A larger learning rate would show weights on the edge of two integers."""


def config(stage, **changes):
    zero = {"stage": stage, **changes.pop("zero", {})}
    auto = ("train_micro_batch_size_per_gpu", "train_batch_size", "gradient_accumulation_steps", "gradient_clipping")
    return {**dict.fromkeys(auto, "auto"), "bf16": {"enabled": "auto"}, "zero_optimization": zero, **changes}


def trainer_of(folder, jobs=None, stage=2, deepspeed=None, **changes):
    settings = {**SETTINGS, "use_cpu": False, "deepspeed": deepspeed or config(stage), **changes}
    trainer = llama_trainer(folder, jobs, **settings)
    assert trainer.accelerator.num_processes == torch.distributed.get_world_size() and trainer.is_deepspeed_enabled
    return trainer


def check_masters(trainer):
    """Everything that training goes on from has the masks' zeros; what DeepSpeed steps on, put together."""
    from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

    found = {name: safe_get_full_fp32_param(one) for name, one in trainer.model.named_parameters()}
    masks = trainer.progress.masks
    for name, keep in masks.keep.items():
        assert not found[f"{name}.weight"][~keep].any(), name
        for kept in ("exp_avg", "exp_avg_sq"):
            state = safe_get_full_optimizer_state(masks.modules[name].weight, kept)
            assert state.any() and not state[~keep].any(), (name, kept)
    return found


def keep(folder, name, trainer):
    torch.save(
        {
            "weights": weights(trainer.model),
            "masks": trainer.progress.masks.keep if trainer.pruning else {},
            "logs": [entry for entry in trainer.state.log_history if "loss" in entry],
        },
        folder / f"{name}{trainer.args.process_index}.pt",
    )


def exact(folder, stage):
    """Pruning, quantization and a teacher; for stage 2 also resumed, finalized and saved."""
    trainer = trainer_of(folder / f"stage{stage}", stage=stage)
    trainer.train()
    found = check_masters(trainer)
    assert_equal_bits(found, {name: one.detach() for name, one in trainer.model.named_parameters()})
    keep(folder, f"stage{stage}-", trainer)
    return trainer


def resumed(folder, straight):
    trainer = trainer_of(folder / "stage2")
    trainer.train(resume_from_checkpoint=str(folder / "stage2" / "checkpoint-6"))
    assert_equal_bits(weights(straight.model), weights(trainer.model))
    assert trainer.compression_is_complete()
    return trainer


def half_precision(folder):
    """Weights in 16 bits, masters in 32."""
    for stage in (1, 2):
        place = folder / f"half{stage}"
        job = {"pruning": Pruning(schedule=Constant(final=0.5, begin=2, end=2))}
        trainer = trainer_of(place, job, stage, bf16=True, max_steps=4, save_strategy="no", learning_rate=1e-3)
        trainer.train()
        found = check_masters(trainer)
        for name, parameter in trainer.model.named_parameters():
            assert parameter.dtype == torch.bfloat16 and found[name].dtype == torch.float32
            assert torch.equal(parameter, found[name].to(torch.bfloat16)), name
            assert not torch.equal(found[name], found[name].bfloat16().float()), "masters have digits of their own"
        keep(folder, f"half{stage}-", trainer)


def as_one_file(folder):
    """DeepSpeed's own way from a checkpoint to fp32 weights."""
    from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint

    found = get_fp32_state_dict_from_zero_checkpoint(str(folder / "stage2" / "checkpoint-12"))
    torch.save({name: tensor.clone() for name, tensor in found.items()}, folder / "zero_to_fp32.pt")


def refusal(action):
    try:
        action()
    except CompressionError as error:
        return str(error)
    return None


def refusals(folder):
    """What this process hears of each; it goes on."""
    whole = folder / "stage2" / "checkpoint-6"
    other = json.loads((whole / "compression.json").read_text())
    four, foreign = folder / "four", folder / "foreign"
    if _distributed.is_main():
        for place in (four, foreign):
            place.mkdir()
        (four / "latest").write_text("global_step6")
        (four / "compression.json").write_text(json.dumps({**other, "processes": 4}))
        (foreign / "optimizer.pt").write_text("")
    _distributed.barrier()
    said = {
        "stage 3": lambda: trainer_of(folder / "refused", stage=3),
        "stage 0": lambda: trainer_of(folder / "refused", stage=0),
        "adafactor": lambda: trainer_of(folder / "refused", optim="adafactor"),
        "four processes": lambda: trainer_of(folder / "refused").train(resume_from_checkpoint=str(four)),
        "another strategy": lambda: trainer_of(folder / "refused").train(resume_from_checkpoint=str(foreign)),
    }
    heard = {name: refusal(action) for name, action in said.items()}
    (folder / f"heard{torch.distributed.get_rank()}.json").write_text(json.dumps(heard))


def job(folder):
    """The main job, with a dense stage before it; a Trainer of its own for each."""
    if _distributed.is_main():
        rows = [
            {"text": f"sentence {n} says that {n} times {n} is {n * n} and nothing else follows from it"}
            for n in range(200)
        ]
        write_jsonl(folder / "train.jsonl", rows)
    _distributed.barrier()
    training = {"output_dir": str(folder / "job"), "max_steps": 4, "per_device_train_batch_size": 2, "deepspeed": config(2)}
    Recipe.from_plain(recipe(folder, {"training": training})).run(resume=False)


if __name__ == "__main__":
    torch.set_num_threads(1)
    deepspeed_on_cpu.start()
    gc.freeze()
    folder = Path(sys.argv[1])
    exact(folder, 1)
    straight = exact(folder, 2)
    again = resumed(folder, straight)
    half_precision(folder)
    if _distributed.is_main():
        as_one_file(folder)
    refusals(folder)
    again.finalize()
    again.save_model(str(folder / "result"))
    job(folder)  # leaves the process group
