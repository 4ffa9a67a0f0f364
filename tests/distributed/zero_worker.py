"""One of two processes under DeepSpeed: `python -m torch.distributed.run ... zero_worker.py <folder>`."""

import gc
import json
import sys
from pathlib import Path

import torch
from transformers import LlamaForCausalLM

from hf_compress import CompressionTrainer, Distillation, ForwardKL, ModelTeacher, Pruning, Recipe, _distributed
from hf_compress._errors import CompressionError
from hf_compress._modules.parts import whole_matrix
from hf_compress._sharding.contract import full_shape, sharding_of
from hf_compress.pruning.schedules.constant import Constant
from hf_compress.training.averaging.tensors import full_state_dict
from tests.distributed import adapted_runs, deepspeed_on_cpu
from tests.small import recipe, write_jsonl
from tests.tiny import tiny_llama
from tests.training.runs import arguments, assert_equal_bits, everything, llama_trainer, text_rows

SETTINGS = {
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 2,
    "learning_rate": 1e-4,
    "max_grad_norm": 0.2,  # below every norm of these runs, so that each step is clipped
    "logging_steps": 1,
    "max_steps": 8,
    "save_steps": 4,
}
"""Of two processes; one has twice the batch. A larger learning rate would show weights on the edge of two integers."""


NOT_GATHERED = {"stage3_param_persistence_threshold": 0}
"""Small weights are not left whole either, and nothing is said of gathering them for a checkpoint."""
IN_PARTS = {**NOT_GATHERED, "stage3_gather_16bit_weights_on_model_save": True}
SLOW = {
    "four": {"per_device_train_batch_size": 1},
    "compiled": {"torch_compile": True, "torch_compile_backend": "aot_eager", "gradient_checkpointing": True},
}
"""Of trainings for themselves."""
LOSSES = ((0.7, ForwardKL(temperature=2.0)),)
"""Those of `everything`."""


def config(stage, **changes):
    zero = {"stage": stage, **changes.pop("zero", {})}
    auto = ("train_micro_batch_size_per_gpu", "train_batch_size", "gradient_accumulation_steps", "gradient_clipping")
    return {**dict.fromkeys(auto, "auto"), "bf16": {"enabled": "auto"}, "zero_optimization": zero, **changes}


def trainer_of(folder, jobs=None, stage=2, deepspeed=None, **changes):
    settings = {**SETTINGS, "use_cpu": False, "deepspeed": deepspeed or config(stage), **changes}
    trainer = llama_trainer(folder, jobs, **settings)
    assert trainer.accelerator.num_processes == torch.distributed.get_world_size() and trainer.is_deepspeed_enabled
    return trainer


def whole_masks(trainer):
    masks = trainer.progress.masks
    return {name: whole_matrix(masks.modules[name], keep) for name, keep in masks.keep.items()}


def check_masters(trainer):
    """Everything that training goes on from has the masks' zeros; what DeepSpeed steps on, put together."""
    from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

    found = {name: safe_get_full_fp32_param(one).view(full_shape(one)) for name, one in trainer.model.named_parameters()}
    for name, keep in whole_masks(trainer).items():
        assert not found[f"{name}.weight"][~keep].any(), name
        for kept in ("exp_avg", "exp_avg_sq"):
            state = safe_get_full_optimizer_state(trainer.model.get_submodule(name).weight, kept).view(keep.shape)
            assert state.any() and not state[~keep].any(), (name, kept)
    return found


def keep(folder, name, trainer):
    kept = {
        "weights": full_state_dict(trainer.model, keep=True),
        "masks": whole_masks(trainer),
        "logs": [entry for entry in trainer.state.log_history if "loss" in entry],
    }
    torch.save(kept, folder / f"{name}{trainer.args.process_index}.pt")
    return kept["weights"]


def exact(folder, stage, **changes):
    """Pruning, quantization and a teacher: straight, and from the checkpoint in the middle."""
    place, settings = folder / f"stage{stage}", {"stage": stage, "deepspeed": config(stage, zero=IN_PARTS)}
    settings |= changes
    trainer = trainer_of(place, **settings)
    trainer.train()
    found, straight = check_masters(trainer), keep(folder, f"stage{stage}-", trainer)
    assert all(torch.equal(tensor, straight[name]) for name, tensor in found.items())
    again = trainer_of(place, **settings)
    again.train(resume_from_checkpoint=str(place / "checkpoint-4"))
    assert_equal_bits(straight, full_state_dict(again.model, keep=True))
    assert again.compression_is_complete()
    return again


def cut_while_loading(folder):
    """ZeRO-3 as it is meant for large models: the student is cut when it is loaded, the teacher when training begins."""
    source = folder / "source"
    if _distributed.is_main():
        tiny_llama(seed=0).save_pretrained(source)
    _distributed.barrier()
    jobs = {
        **everything(),
        "distillation": Distillation(teacher=ModelTeacher(model=str(source), shard="like_student"), losses=LOSSES),
    }
    settings = {**SETTINGS, "use_cpu": False, "deepspeed": config(3, zero=NOT_GATHERED), "save_strategy": "no"}
    args = arguments(folder / "cut", **settings)
    student = LlamaForCausalLM.from_pretrained(source, dtype=torch.float32)
    assert student.lm_head.weight.shape == (0,)
    trainer = CompressionTrainer(model=student, args=args, train_dataset=text_rows(), **jobs)
    teacher = trainer._own_loss.distillation.teacher.model
    assert teacher.lm_head.weight.dim() == 2
    trainer.train()
    assert sharding_of(teacher.lm_head.weight).name == "zero3" and full_shape(teacher.lm_head.weight).numel() > 0
    check_masters(trainer)
    keep(folder, "cut-", trainer)
    trainer.save_model(str(folder / "trained-cut"))
    again = arguments(folder / "cut", **settings)
    return refusal(lambda: CompressionTrainer(model=student, args=again, train_dataset=text_rows(), **everything()))


def half_precision(folder):
    """Weights in 16 bits, masters in 32."""
    for stage in (1, 2, 3):
        place = folder / f"half{stage}"
        job = {"pruning": Pruning(schedule=Constant(final=0.5, begin=2, end=2))}
        trainer = trainer_of(place, job, stage, bf16=True, max_steps=4, save_strategy="no", learning_rate=1e-3)
        trainer.train()
        found = check_masters(trainer)
        for name, weight in keep(folder, f"half{stage}-", trainer).items():
            assert weight.dtype == torch.bfloat16
            if name in found:
                assert torch.equal(weight, found[name].to(torch.bfloat16)), name
                assert not torch.equal(found[name], found[name].bfloat16().float()), "masters have digits of their own"


def as_one_file(folder):
    """DeepSpeed's own way from a checkpoint to fp32 weights."""
    from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint

    for stage in (1, 2, 3):
        found = get_fp32_state_dict_from_zero_checkpoint(str(folder / f"stage{stage}" / "checkpoint-8"))
        torch.save({name: tensor.clone() for name, tensor in found.items()}, folder / f"zero_to_fp32-{stage}.pt")


def refusal(action):
    try:
        action()
    except CompressionError as error:
        return str(error)
    return None


def refusals(folder, **more):
    """What this process hears of each; it goes on."""
    whole = folder / "stage2" / "checkpoint-4"
    other = json.loads((whole / "compression.json").read_text())
    four, foreign = folder / "four", folder / "foreign"
    if _distributed.is_main():
        for place in (four, foreign):
            place.mkdir()
        (four / "latest").write_text("global_step4")
        (four / "compression.json").write_text(json.dumps({**other, "processes": 4}))
        (foreign / "optimizer.pt").write_text("")
    _distributed.barrier()
    said = {
        "stage 0": lambda: trainer_of(folder / "refused", stage=0),
        "adafactor": lambda: trainer_of(folder / "refused", optim="adafactor"),
        "four processes": lambda: trainer_of(folder / "refused").train(resume_from_checkpoint=str(four)),
        "another stage": lambda: trainer_of(folder / "refused", stage=3).train(resume_from_checkpoint=str(whole)),
        "another strategy": lambda: trainer_of(folder / "refused").train(resume_from_checkpoint=str(foreign)),
    }
    heard = {name: refusal(action) for name, action in said.items()}
    heard |= more
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
    training = {"output_dir": str(folder / "job"), "max_steps": 4, "per_device_train_batch_size": 2, "deepspeed": config(3)}
    Recipe.from_plain(recipe(folder, {"training": training, "evaluation.untrained": False})).run(resume=False)


if __name__ == "__main__":
    torch.set_num_threads(1)
    deepspeed_on_cpu.start()
    gc.freeze()
    folder = Path(sys.argv[1])
    if sys.argv[2:]:
        for stage in (1, 2, 3):
            exact(folder, stage, **SLOW[sys.argv[2]])
        _distributed.leave()
        sys.exit()
    exact(folder, 1)
    again = exact(folder, 2)
    in_parts = exact(folder, 3)
    half_precision(folder)
    if _distributed.is_main():
        as_one_file(folder)
    refusals(folder, copy=cut_while_loading(folder))
    for stage, trainer in ((2, again), (3, in_parts)):
        trainer.save_model(str(folder / f"trained-stage{stage}"))
        trainer.finalize()
        trainer.save_model(str(folder / f"result{stage}"))
    for stage in (2, 3):
        zero = NOT_GATHERED if stage == 3 else {}
        adapted_runs.adapted(folder / f"adapted{stage}", 2, use_cpu=False, deepspeed=config(stage, zero=zero))
    job(folder)  # leaves the process group
