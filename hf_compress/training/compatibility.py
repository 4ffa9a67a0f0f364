"""What composes with what: one table of refusals, checked before the first batch.

Everything not named here is meant to work together and tested so.
"""

from collections.abc import Collection
from typing import Any

import torch
from transformers.training_args import ParallelMode

from hf_compress._errors import CompressionError
from hf_compress._modules.plain_model import is_adapted, is_quantized
from hf_compress.training.best_model import why_never_judged
from hf_compress.training.compression import Compression
from hf_compress.training.deepspeed import deepspeed_config
from hf_compress.training.fsdp_rules import FSDP_RULES, fsdp_plugin
from hf_compress.training.host import has_known_loss
from hf_compress.training.rule import Rule
from hf_compress.training.zero_rules import ZERO_RULES


def _never_judged(args: Any) -> str:
    """Before training, where the arguments themselves say how long it is."""
    steps = args.max_steps if args.max_steps > 0 else None
    return why_never_judged(args, steps, None if steps else args.num_train_epochs)


def _accumulates(compression: Compression) -> bool:
    return compression.pruning is not None and compression.pruning.criterion.accumulates


RULES: tuple[Rule, ...] = (
    *FSDP_RULES,
    *ZERO_RULES,
    Rule(
        name="anything + DataParallel",
        applies=lambda trainer, compression: bool(compression) and trainer.args.n_gpu > 1,
        message="compression in one process with several GPUs (DataParallel) is not supported: replicas lose the losses'"
        " normalisation; start with accelerate launch, or set CUDA_VISIBLE_DEVICES to one GPU",
    ),
    Rule(
        name="pruning + PEFT adapters + FSDP or DeepSpeed",
        applies=lambda trainer, compression: (
            compression.pruning is not None
            and is_adapted(trainer.model)
            and (fsdp_plugin(trainer) is not None or deepspeed_config(trainer) is not None)
        ),
        message="pruning beneath a PEFT adapter under FSDP or DeepSpeed is not supported, because their checkpoints do not"
        " hold the base's zeros; prune the base before it is wrapped, or train with DDP",
    ),
    Rule(
        name="a criterion that accumulates + PEFT adapters",
        applies=lambda trainer, compression: _accumulates(compression) and is_adapted(trainer.model),
        message="the criterion adds up gradients, and the base beneath an adapter is frozen and has none; prune by one that"
        " looks at weights, inputs or the gradients of a calibration (magnitude, wanda, taylor)",
    ),
    Rule(
        name="quantization + PEFT adapters",
        applies=lambda trainer, compression: compression.quantization is not None and is_adapted(trainer.model),
        message="quantization-aware training of a PEFT model is not supported: merging the adapter would undo it; merge it"
        " first (model = model.merge_and_unload(), then model.requires_grad_(True)), or leave quantization out",
    ),
    Rule(
        name="pruning or quantization + an already quantized model",
        applies=lambda trainer, compression: compression.edits_weights and is_quantized(trainer.model),
        message="the model is already quantized, so its weights cannot be pruned or trained; load the dense checkpoint",
    ),
    Rule(
        name="quantization + a model without save_pretrained",
        applies=lambda trainer, compression: (
            compression.quantization is not None and not hasattr(trainer.model, "save_pretrained")
        ),
        message="quantization writes a checkpoint that transformers loads, and the model has no save_pretrained to do it;"
        " make it a PreTrainedModel",
    ),
    Rule(
        name="pruning or quantization + half-precision weights",
        applies=lambda trainer, compression: (
            compression.edits_weights and any(p.dtype.itemsize < 4 for p in trainer.model.parameters() if p.requires_grad)
        ),
        message="the model's weights are in 16 bits, where small updates round away; load it with dtype=torch.float32 and"
        " set bf16: true for mixed precision",
    ),
    Rule(
        name="anything + frozen weights alone",
        applies=lambda trainer, compression: (
            bool(compression) and not any(p.requires_grad for p in trainer.model.parameters())
        ),
        message="no weight of the model asks for a gradient, so nothing would be trained (merging an adapter leaves them"
        " frozen); call model.requires_grad_(True)",
    ),
    Rule(
        name="a criterion that accumulates + FSDP or DeepSpeed",
        applies=lambda trainer, compression: (
            _accumulates(compression) and (fsdp_plugin(trainer) is not None or deepspeed_config(trainer) is not None)
        ),
        message="the criterion adds up gradients of whole layers, which FSDP and DeepSpeed cut; prune by one that looks at"
        " weights or inputs, or train with DDP",
    ),
    Rule(
        name="a criterion that accumulates + fp16",
        applies=lambda trainer, compression: (
            _accumulates(compression) and getattr(trainer.accelerator, "mixed_precision", "no") == "fp16"
        ),
        message="the criterion adds up gradients, and under fp16 they are scaled, by another number from time to time, and"
        " may be infinite; set bf16 in the place of fp16",
    ),
    Rule(
        name="distillation + label smoothing",
        applies=lambda trainer, compression: (
            compression.distillation is not None and trainer.args.label_smoothing_factor != 0
        ),
        message="distillation and label_smoothing_factor exclude each other: the teacher's distribution is the smoothing;"
        " set label_smoothing_factor to 0",
    ),
    Rule(
        name="distillation + Liger kernels",
        applies=lambda trainer, compression: compression.distillation is not None and trainer.args.use_liger_kernel,
        message="distillation needs the student's logits, which Liger's fused loss never builds; set use_liger_kernel to"
        " false",
    ),
    Rule(
        name="distillation + compute_loss_func",
        applies=lambda trainer, compression: compression.distillation is not None and trainer.compute_loss_func is not None,
        message="distillation owns the loss, so compute_loss_func would never be called; drop one of the two",
    ),
    Rule(
        name="pruning or quantization + a best model that no evaluation finds",
        applies=lambda trainer, compression: compression.edits_weights and bool(_never_judged(trainer.args)),
        message="load_best_model_at_end, save_strategy 'best' and early stopping need an evaluation once pruning and"
        " quantization are complete, and there is none: set eval_strategy to steps or epoch, and eval_delay below the end"
        " of training",
    ),
    Rule(
        name="distillation + a loss of the trainer's own",
        applies=lambda trainer, compression: compression.distillation is not None and not has_known_loss(trainer),
        message="{host} computes its own loss (compute_loss), which distillation would replace: weighted losses, preference"
        " and reward trainers; distil with Trainer, Seq2SeqTrainer or SFTTrainer",
    ),
    Rule(
        name="distillation + another loss_type of SFTTrainer",
        applies=lambda trainer, compression: (
            compression.distillation is not None and getattr(trainer.args, "loss_type", "nll") != "nll"
        ),
        message="distillation replaces the trainer's loss by cross-entropy and the divergence from the teacher, so another"
        " loss_type would be ignored; set loss_type to nll",
    ),
    Rule(
        name="distillation + an already quantized model",
        applies=lambda trainer, compression: (
            compression.distillation is not None and is_quantized(trainer.model) and not is_adapted(trainer.model)
        ),
        message="the student is already quantized, so distillation would train its norms and embeddings alone; load the"
        " dense checkpoint (and quantize while distilling), or give it an adapter",
    ),
    Rule(
        name="anything + auto_find_batch_size",
        applies=lambda trainer, compression: bool(compression) and trainer.args.auto_find_batch_size,
        message="auto_find_batch_size restarts training inside one run, which schedules and masks cannot follow; set"
        " per_device_train_batch_size",
    ),
)


def check_arguments(args: Any) -> None:
    """Refuse what ends in an error of the host itself while it is made; `args` are its arguments, or None.

    Raises:
        CompressionError: activations cannot be moved away from a device that is not there, FSDP in one process, DeepSpeed's
            configuration says otherwise than they do, or see `refuse_split_layers`.
    """
    differences = getattr(getattr(args, "hf_deepspeed_config", None), "mismatches", None)
    if differences:  # transformers says so when the training begins
        said = ", ".join(one.removeprefix("- ds ").replace(" vs hf ", " there and ") for one in differences)
        raise CompressionError(
            f"DeepSpeed's configuration and the training's arguments differ: {said} here; write auto for it in DeepSpeed's"
            " configuration"
        )
    if getattr(args, "fsdp", None) and args.parallel_mode != ParallelMode.DISTRIBUTED:
        raise CompressionError(
            "fsdp is set and this is one process, which has nobody to share the weights with; start with accelerate launch"
            " or torchrun, one process per GPU, or leave fsdp out"
        )
    refuse_split_layers(getattr(args, "parallelism_config", None))
    if getattr(args, "activation_offloading", False) and getattr(args, "device", torch.device("cpu")).type == "cpu":
        raise CompressionError(
            "activation_offloading moves activations from an accelerator to the CPU's memory, and this run has no"
            " accelerator; set activation_offloading to false"
        )


def refuse_split_layers(config: Any) -> None:
    """Refuse to split layers or rows over processes, by accelerate's `ParallelismConfig` or what a launcher made of it.

    Raises:
        CompressionError: one of its sizes is above 1.
    """
    for name, kind in (("tp_size", "tensor"), ("cp_size", "context"), ("sp_size", "sequence")):
        size = getattr(config, name, None) or 1
        if size > 1:
            raise CompressionError(
                f"{name}={size}: compression under {kind} parallelism is not supported, because masks and losses are of"
                f" whole layers and rows; set {name} to 1 and share the weights with FSDP 2 (dp_shard_size) or ZeRO"
            )


def check_projections(trainer: Any, projections: Collection[Any]) -> None:
    """Refuse losses with trained parts where the host trains nothing but the model; they are known once models are there.

    Args:
        trainer: made.
        projections: those of its distillation, perhaps none.

    Raises:
        CompressionError: it has some, and DeepSpeed or FSDP trains the model.
    """
    for name, found in (("DeepSpeed", deepspeed_config(trainer)), ("FSDP", fsdp_plugin(trainer))):
        if projections and found is not None:
            raise CompressionError(
                f"losses with projections (trained parts beside the model) under {name} are not supported, because it"
                " trains and saves the model's weights alone; take losses without projections, or train with DDP"
                " (accelerate launch --multi_gpu)"
            )


def check_compatibility(trainer: Any, compression: Compression) -> None:
    """Refuse what does not go together.

    Args:
        trainer: a fully initialised transformers Trainer.
        compression: what it is asked to do.

    Raises:
        CompressionError: the first rule that applies.
    """
    if compression:
        refuse_split_layers(getattr(trainer.accelerator, "parallelism_config", None))
    for rule in RULES:
        if rule.applies(trainer, compression):
            names = {"{host}": type(trainer).__name__, "{model}": type(trainer.model).__name__}
            message = rule.message
            for place, name in names.items():
                message = message.replace(place, name)
            raise CompressionError(message)
