"""One process of a training that is crashed: `torchrun ... _crash_training.py STRATEGY OUTPUT_DIR BEATS`."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

STEPS, EVERY = 60, 3


def allow_fsdp2() -> None:
    """accelerate shards over GPUs alone."""
    from tests.distributed.fsdp2 import allow_sharding_on_cpu

    allow_sharding_on_cpu()


def start_deepspeed() -> None:
    """DeepSpeed looks for GPUs, and compiles."""
    from tests.distributed import deepspeed_on_cpu

    deepspeed_on_cpu.start()


@dataclass(frozen=True)
class Strategy:
    """A way of spreading a training.

    Attributes:
        arguments: TrainingArguments that ask for it.
        prepare: what a process does before it makes them.
    """

    arguments: dict[str, Any] = field(default_factory=dict)
    prepare: Callable[[], None] = lambda: None


def fsdp2(form: str) -> Strategy:
    """FSDP 2 with checkpoints of this form."""
    config = {"version": 2, "auto_wrap_policy": "TRANSFORMER_BASED_WRAP", "state_dict_type": form}
    return Strategy({"use_cpu": True, "fsdp": True, "fsdp_config": config}, allow_fsdp2)


def zero(stage: int) -> Strategy:
    """DeepSpeed's ZeRO."""
    auto = ("train_micro_batch_size_per_gpu", "train_batch_size", "gradient_accumulation_steps", "gradient_clipping")
    parts = {"stage": stage, "stage3_param_persistence_threshold": 0}
    return Strategy({"deepspeed": {**dict.fromkeys(auto, "auto"), "zero_optimization": parts}}, start_deepspeed)


STRATEGIES = {
    "ddp": Strategy({"use_cpu": True}),
    "fsdp2": fsdp2("SHARDED_STATE_DICT"),
    "fsdp2_full": fsdp2("FULL_STATE_DICT"),
    "zero2": zero(2),
    "zero3": zero(3),
}


def train(strategy: Strategy, out: Path, beats: Path) -> None:
    """One process of the training; writes its number at the start and every step's number into `beats`."""
    import torch
    from datasets import Dataset
    from transformers import LlamaConfig, LlamaForCausalLM, TrainerCallback, TrainingArguments

    from hf_compress import CompressionTrainer, Cubic, Distillation, ModelTeacher, Pruning, Quantization
    from hf_compress.training.checkpoints import last_whole_checkpoint

    class Beat(TrainerCallback):
        def on_train_begin(self, args, state, control, **kwargs):
            (beats / f"process-{args.process_index}").write_text(str(os.getpid()))
            if args.process_index == 0:
                (beats / "began").write_text(str(state.global_step))

        def on_step_end(self, args, state, control, **kwargs):
            if args.process_index == 0:
                (beats / "step").write_text(str(state.global_step))

    torch.set_num_threads(1)
    strategy.prepare()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=256,
        hidden_size=128,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        bos_token_id=1,
        eos_token_id=2,
    )
    tokens = torch.randint(3, 256, (512, 16)).tolist()
    trainer = CompressionTrainer(
        model=LlamaForCausalLM(config),
        args=TrainingArguments(
            output_dir=str(out),
            max_steps=STEPS,
            save_steps=EVERY,
            per_device_train_batch_size=4,
            report_to="none",
            disable_tqdm=True,
            logging_steps=STEPS,
            **strategy.arguments,
        ),
        train_dataset=Dataset.from_dict({"input_ids": tokens, "labels": tokens}),
        callbacks=[Beat()],
        pruning=Pruning(schedule=Cubic(final=0.5, begin="0%", end="50%", every=2)),
        quantization=Quantization(scheme="W4A16", begin="50%"),
        distillation=Distillation(teacher=ModelTeacher()),
    )
    # Not True, which refuses where the first checkpoint of all is the one that was being written.
    whole = last_whole_checkpoint(out, trainer.args)
    trainer.train(resume_from_checkpoint=None if whole is None else str(whole))


if __name__ == "__main__":
    train(STRATEGIES[sys.argv[1]], Path(sys.argv[2]), Path(sys.argv[3]))
