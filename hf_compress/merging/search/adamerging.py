"""AdaMerging: coefficients of task vectors that make the merged model's predictions certain, without labels."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hf_compress._errors import CompressionError
from hf_compress._modules.modes import evaluation_mode
from hf_compress.checkpoints.source import Source
from hf_compress.merging.engine.in_memory import Tensors, as_tensors, merge_state_dicts
from hf_compress.merging.method import MergeMethod
from hf_compress.merging.search.coefficients import Found, Granularity
from hf_compress.merging.search.mixture import Mixture, cycle, loss_and_gradients


@dataclass(frozen=True, kw_only=True)
class Task:
    """One task of the merge.

    Attributes:
        model: the fine-tuned model with its own head, whose output has `logits`; not changed.
        batches: unlabelled batches of the task, keyword arguments of the model; gone through again when they end.
    """

    model: nn.Module
    batches: Iterable[Mapping[str, Any]]


def adamerging(
    base: Source | Tensors,
    tasks: Mapping[str, Task],
    *,
    granularity: Granularity = "tensor",
    start: float = 0.3,
    steps: int = 500,
    learning_rate: float = 1e-3,
) -> Found:
    """Merges theta = base + sum_i c[g, i] * (theta_i - base), with c in [0, 1] learned on the entropy of the predictions.

    Each step takes one batch of every task, runs the merged weights with that task's own head, and lowers the sum over the
    tasks of the mean entropy -sum_c p_c log p_c (nats) with Adam.

    Args:
        base: the model they were fine-tuned from, with the names of the tasks' models. What it shares in name and shape
            with all of them is merged; everything else (heads) stays each task's own.
        tasks: label -> task; M of them.
        granularity: one coefficient per task ("model", task-wise in the paper), layer, or tensor (layer-wise there).
        start: of every coefficient.
        steps: optimizer steps.
        learning_rate: of Adam.

    Returns:
        The weights with task arithmetic, and the merged shared tensors; each task's head is in its own model. The score is
        minus the mean entropy over the last quarter of the steps, the history {"step": s} and the sum over the tasks.

    Raises:
        CompressionError: nothing is shared, there are no tasks, steps or batches, an output has no logits, or the entropy
            is not a finite number.

    Source: Yang et al. 2024, equations 5 and 6; coefficients are kept in [0, 1].
    """
    if not tasks:
        raise CompressionError("tasks is empty; name at least one model and its batches")
    labels = list(tasks)
    origin = as_tensors(base)
    states = {label: dict(task.model.state_dict()) for label, task in tasks.items()}
    shared = {
        name: origin[name].to(states[labels[0]][name].device) for name in origin if _is_shared(name, origin[name], tasks)
    }
    if not shared:
        raise CompressionError(
            "no tensor of the base has the name and shape of one in every task's model; give the base model's state_dict()"
            " with the names of the tasks' models"
        )
    deltas = [{name: state[name].float() - tensor.float() for name, tensor in shared.items()} for state in states.values()]
    mixture = Mixture(deltas, shared, granularity)
    coefficients = torch.full((len(mixture.groups), len(labels)), start)
    optimizer = torch.optim.Adam([coefficients], lr=learning_rate)
    history: list[tuple[dict[str, float], float]] = []
    streams = [iter(cycle(task.batches, steps)) for task in tasks.values()]
    for step in range(steps):
        total, gradient = 0.0, torch.zeros_like(coefficients)
        mixed = mixture.tensors(coefficients)
        for task, stream in zip(tasks.values(), streams, strict=True):
            with evaluation_mode(task.model):
                value, gradients = loss_and_gradients(task.model, mixed, next(stream), prediction_entropy)
            total += value
            gradient += mixture.gradient(gradients)
        coefficients.grad = gradient
        optimizer.step()
        coefficients.clamp_(0, 1)
        history.append(({"step": float(step)}, total))
    found = mixture.as_coefficients(coefficients, labels)
    method = MergeMethod.create("task_arithmetic")
    members = {label: {name: states[label][name] for name in shared} for label in labels}
    last = [value for _, value in history[-max(1, len(history) // 4) :]]
    return Found(
        coefficients=found,
        method=method,
        state_dict=merge_state_dicts(method, members, base=shared, weights=found.of),
        score=-sum(last) / (len(last) * len(labels)),
        history=tuple(history),
    )


def prediction_entropy(output: Any, batch: Mapping[str, Any]) -> Tensor:
    """The mean over predictions of -sum_c p_c log p_c, in nats.

    Args:
        output: with `logits` (B, C), or (B, T, C) where every token is a prediction.
        batch: `attention_mask` (B, T) leaves padding out of the mean, for an encoder and decoder `decoder_attention_mask`.

    Raises:
        CompressionError: there are no logits.
    """
    logits = getattr(output, "logits", None)
    if not isinstance(logits, Tensor):
        raise CompressionError("the model's output has no logits, so there is no prediction; use a model with a head")
    logs = logits.float().log_softmax(-1)
    entropy = -(logs.exp() * logs).sum(-1)
    decoder = getattr(output, "encoder_last_hidden_state", None) is not None
    mask = batch.get("decoder_attention_mask" if decoder else "attention_mask")
    if mask is not None and mask.shape == entropy.shape:
        return (entropy * mask).sum() / mask.sum()
    return entropy.mean()


def _is_shared(name: str, tensor: Tensor, tasks: Mapping[str, Task]) -> bool:
    """A parameter of every task's model with the base's shape."""
    if not tensor.is_floating_point():
        return False
    owned = [dict(task.model.named_parameters()).get(name) for task in tasks.values()]
    return all(one is not None and one.shape == tensor.shape for one in owned)
