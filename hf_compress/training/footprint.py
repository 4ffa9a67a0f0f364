"""What a training takes in each process, worked out from the sizes of a model that is not in memory.

Counted is what grows with the weights: they, their gradients, the optimizer's states, masks, rounded copies, the teacher.
Activations and logits grow with the batch and are left out; activation checkpointing, and a smaller batch, make them small.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from hf_compress._modules.matrix import matrix_size
from hf_compress._modules.types import num_bytes
from hf_compress._units import format_bytes
from hf_compress.pruning.fit import chosen
from hf_compress.quantization.fitting import fit
from hf_compress.training.compression import Compression

MOMENTS = {
    "adamw_torch": 8,
    "adamw_torch_fused": 8,
    "adamw_apex_fused": 8,
    "adamw_8bit": 2,
    "adamw_bnb_8bit": 2,
    "paged_adamw_8bit": 2,
    "adamw_torch_8bit": 2,
    "lion_32bit": 4,
    "adagrad": 4,
    "sgd": 0,
}
"""Bytes of an optimizer's state for each weight, by its name in TrainingArguments; SGD is without momentum there."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """A way of spreading a training over processes.

    Attributes:
        name: as people call it.
        weights, gradients, states: whether a process holds only its share of them. Masks lie as the weights do.
        buckets: gradients are copied into buckets that are sent; DDP's default.
        master: the optimizer works on fp32 copies of its share, and with mixed precision the weights and gradients are in
            16 bits.
        waits: where a step has several batches, their gradients are added up whole in each process and sent with the last
            one's; accelerate's `sync_each_batch` sends them at once.
    """

    name: str
    weights: bool = False
    gradients: bool = False
    states: bool = False
    buckets: bool = False
    master: bool = False
    waits: bool = False


ALONE = Way(name="one process")
WAYS = (
    Way(name="DDP", buckets=True, waits=True),
    Way(name="FSDP2", weights=True, gradients=True, states=True, waits=True),
    Way(name="ZeRO-2", gradients=True, states=True, master=True),
    Way(name="ZeRO-3", weights=True, gradients=True, states=True, master=True),
)


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What of a run decides its memory; bytes, except where it says otherwise.

    Attributes:
        weights: all of them.
        trained: number of weights with a gradient.
        largest: of the largest block of layers, which is gathered where weights are spread.
        states: the optimizer's, None where its name is not in `MOMENTS`.
        pruned: number of weights under masks.
        accumulated: what the criterion adds up in training, which nothing spreads.
        largest_pruned: number of weights of the largest layer under a mask.
        copies: what the layers compute with instead of their weights (rounded, or cast to 16 bits), kept from the forward
            to the backward pass; with activation checkpointing of one block.
        half: mixed precision: layers compute in 16 bits; where weights are spread, 16 bits are gathered and sent.
        rounded: whether these copies are rounded ones, which every process has whole.
        largest_copied: number of weights of the largest layer with a copy.
        teacher: its weights; None where they are not known.
        teacher_spread: whether it is sharded wherever the student is.
        batches: number of batches in an optimizer step; from the second on, gradients are there before the backward pass.
        sync_each_batch: whether gradients of each batch are sent at once.
    """

    weights: int
    trained: int
    largest: int
    states: int | None
    pruned: int = 0
    accumulated: int = 0
    largest_pruned: int = 0
    copies: int = 0
    half: bool = False
    rounded: bool = False
    largest_copied: int = 0
    teacher: int | None = 0
    teacher_spread: bool = False
    batches: int = 1
    sync_each_batch: bool = False


def sizes_of(
    model: nn.Module, compression: Compression, args: Any, teacher: int | None = 0, teacher_spread: bool = False
) -> Sizes:
    """Those of a run.

    Args:
        model: as it will be trained; without memory is enough.
        compression: what is done to it.
        args: TrainingArguments.
        teacher: bytes of the teacher's weights.
        teacher_spread: see `Sizes`.
    """
    parameters = list(model.parameters())
    trained = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
    blocks = _blocks(model)
    moments = MOMENTS.get(getattr(args.optim, "value", args.optim))
    pruned = [] if compression.pruning is None else list(chosen(model, compression.pruning).modules.values())
    rounded = [] if compression.quantization is None else list(fit(model, compression.quantization)[0].modules.values())
    half = args.bf16 or args.fp16
    copied = [module for module in model.modules() if isinstance(module, nn.Linear)] if half else rounded
    copies = sum(map(matrix_size, copied)) * (2 if half else 4)
    return Sizes(
        weights=num_bytes(parameters),
        trained=trained,
        largest=max(map(num_bytes, (block.parameters() for block in blocks)), default=0),
        states=None if moments is None else moments * trained,
        pruned=sum(map(matrix_size, pruned)),
        accumulated=4 * sum(map(matrix_size, pruned)) if pruned and _accumulates(compression) else 0,
        largest_pruned=max(map(matrix_size, pruned), default=0),
        copies=copies // max(len(blocks), 1) if _checkpointed(args) else copies,
        half=half,
        rounded=bool(rounded),
        largest_copied=max(map(matrix_size, copied), default=0),
        teacher=teacher,
        teacher_spread=teacher_spread,
        batches=args.gradient_accumulation_steps,
        sync_each_batch=_sent_at_once(args),
    )


def _accumulates(compression: Compression) -> bool:
    return compression.pruning is not None and compression.pruning.criterion.accumulates


def footprint(sizes: Sizes, way: Way = ALONE, processes: int = 1) -> dict[str, int]:
    """Bytes of one process, by what they are for.

    The last, "peak", is the largest of three sums: at the begin of the backward pass, when the layers' copies are there and
    gradients only where they are accumulated; at the optimizer's step; and at an update of the masks, when the old and the
    new ones and the scores of one layer (12 bytes for each of its weights) are there.

    Args:
        sizes: the run's.
        way: how it is spread.
        processes: over how many.
    """

    def share(num_bytes: int, spread: bool) -> int:
        return -(-num_bytes // processes) if spread else num_bytes

    masks = share(sizes.pruned, way.weights)
    weights = sizes.weights // 2 if way.master and sizes.half else sizes.weights
    gradients = (2 if way.master and sizes.half else 4) * sizes.trained
    held = {
        "weights": share(weights, way.weights) + (share(4 * sizes.trained, True) if way.master else 0),
        "gradients": share(gradients, way.gradients and not _held_back(sizes, way)) + (gradients if way.buckets else 0),
        "optimizer": share(sizes.states or 0, way.states),
        "masks": masks,
        "criterion's totals": sizes.accumulated,
        "teacher": share(sizes.teacher or 0, way.weights and sizes.teacher_spread),
        "gathered weights": (sizes.largest if sizes.half else 2 * sizes.largest) if way.weights else 0,
        # FSDP2 and ZeRO-3 free what they gathered; a rounded copy is a tensor of its own, which nobody frees.
        "layers' copies": sizes.copies if sizes.rounded or not way.weights else 0,
    }
    always = held["weights"] + held["optimizer"] + masks + sizes.accumulated + held["teacher"] + held["gathered weights"]
    backward = always + held["layers' copies"] + (held["gradients"] if sizes.batches > 1 or way.buckets else 0)
    backward += 8 * sizes.largest_copied  # its gradient, and that of its copy, before the copy goes
    step = always + held["gradients"]
    update = step + masks + share(12 * sizes.largest_pruned, way.weights)
    return {**{name: value for name, value in held.items() if value}, "peak": max(backward, step, update)}


def communication(sizes: Sizes, way: Way, processes: int) -> int:
    """Bytes that a process sends in one optimizer step, by the usual rings: (N - 1) / N of a tensor for gathering it or for
    adding it up and spreading it, twice that for adding it up everywhere.

    Masks add a few kilobytes for each layer when they are updated, rounding adds nothing, and neither does a teacher that
    every process has whole; one that is spread is gathered for each batch.
    """
    sending = 1 if way.waits and not sizes.sync_each_batch else sizes.batches
    half = sizes.half and (way.weights or way.master)
    gradients, weights = (2 if half else 4) * sizes.trained, sizes.weights // 2 if half else sizes.weights
    if way.weights:  # gathered for each forward and each backward pass
        teacher = (sizes.teacher or 0) if sizes.teacher_spread else 0
        total = gradients * sending + (2 * weights + teacher) * sizes.batches
    elif way.gradients:  # DeepSpeed adds buckets up everywhere, whoever keeps the sum; then the new weights, once
        total = 2 * gradients * sending + weights
    else:
        total = 2 * gradients * sending
    return total * (processes - 1) // processes


def _held_back(sizes: Sizes, way: Way) -> bool:
    return way.waits and sizes.batches > 1 and not sizes.sync_each_batch


def table(sizes: Sizes, processes: int, ways: Sequence[Way] = WAYS) -> str:
    """For a terminal: a line for each kind of bytes, a column for each way."""
    columns = {ALONE.name: footprint(sizes)} | {way.name: footprint(sizes, way, processes) for way in ways}
    sent = {ALONE.name: 0} | {way.name: communication(sizes, way, processes) for way in ways}
    names = list(dict.fromkeys(name for found in columns.values() for name in found if name != "peak")) + ["peak"]
    lines = [["", *columns]]
    lines += [[name, *(format_bytes(found.get(name, 0)) for found in columns.values())] for name in names]
    lines.append(["sent in a step", *map(format_bytes, sent.values())])
    return aligned(lines)


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Columns of words on the left and of numbers on the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]
        )
        for line in lines
    )


def _blocks(model: nn.Module) -> list[nn.Module]:
    """The layers that checkpointing computes again, one after the other, and that are gathered as one."""
    return [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]


def _checkpointed(args: Any) -> bool:
    """By its newer name, by the one that transformers 6 takes away, or by FSDP."""
    by_fsdp = isinstance(args.fsdp_config, dict) and args.fsdp_config.get("activation_checkpointing", False)
    return bool(
        by_fsdp or getattr(args, "activation_checkpointing", False) or getattr(args, "gradient_checkpointing", False)
    )


def _sent_at_once(args: Any) -> bool:
    settings = getattr(args.accelerator_config, "gradient_accumulation_kwargs", None) or {}
    return bool(settings.get("sync_each_batch", False))


def missing(sizes: Sizes) -> Mapping[str, str]:
    """What is not counted because it is not known, and why."""
    found = {}
    if sizes.states is None:
        found["optimizer"] = "how much it keeps is not known"
    if sizes.teacher is None:
        found["teacher"] = "its size is not known before it is loaded"
    return found
