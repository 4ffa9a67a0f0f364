"""Merging of state dicts in memory, by the same operands and chunks as on disk: for soups, searches and experiments."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hf_compress._errors import CompressionError
from hf_compress.checkpoints.source import Source
from hf_compress.checkpoints.untying import without_ties
from hf_compress.merging.members.common_names import unify
from hf_compress.merging.method import MergeMethod
from hf_compress.merging.operands import Operands

_COUNTERS = "num_batches_tracked"
"""What BatchNorm calls its counter of batches; it counts only where the running statistics have no momentum."""
Tensors = Mapping[str, Tensor]
Weights = Sequence[float] | Callable[[str], Sequence[float]]
"""One number per member, or a function from a tensor's name to them."""


class SourceTensors(Mapping[str, Tensor]):
    """A checkpoint as a state dict whose tensors are read when they are asked for."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._source.infos:
            raise KeyError(name)
        return self._source.read(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._source.infos)

    def __len__(self) -> int:
        return len(self._source.infos)


def as_tensors(model: Source | Tensors) -> Tensors:
    """A state dict, whichever way the model is given."""
    return SourceTensors(model) if isinstance(model, Source) else model


@torch.no_grad()
def merge_state_dicts(
    method: MergeMethod,
    members: Mapping[str, Source | Tensors],
    *,
    base: Source | Tensors | None = None,
    weights: Weights | None = None,
    values: Mapping[str, Sequence[float]] | None = None,
    statistics: Mapping[str, Sequence[Source | Tensors]] | None = None,
    seed: int = 0,
) -> dict[str, Tensor]:
    """The merged state dict.

    Args:
        method: the formula.
        members: label -> state dict or checkpoint, M of them, with equal names and shapes. Checkpoints alone (the base too)
            come under one set of names as on disk, see `unify`.
        base: the model they were fine-tuned from, with the same names and shapes.
        weights: of the members; None = all 1.
        values: other per-member parameters of the method, e.g. {"density": (0.5, 0.3)}; its own field where left out.
        statistics: what the method `needs`: name -> one state dict per member, by tensor name. A tensor that one of them
            lacks is merged without that statistic.
        seed: of methods that draw random numbers.

    Returns:
        New tensors by name, in the base's type, or without a base the first member's. Integer tensors are copied;
        BatchNorm's counters of batches may differ, and are those of that model.

    Raises:
        CompressionError: names or shapes differ, integer tensors differ, the base or a statistic is missing, or the method
            refuses the number of members or their weights.
    """
    labels = tuple(members)
    base, *models = _under_one_set_of_names(base, list(members.values()))
    states = [as_tensors(model) for model in models]
    origin = None if base is None else as_tensors(base)
    _check(method, labels, origin, statistics or {})
    model = states[0] if origin is None else origin
    for label, state in zip(labels, states, strict=True):
        if set(state) != set(model):
            name = sorted(set(state) ^ set(model))[0]
            raise CompressionError(
                f"{label} and {labels[0] if base is None else 'the base'} differ: only one of them has {name}; merge models"
                " of one architecture, without their heads where those differ"
            )
    known = {name: tuple(as_tensors(one) for one in each) for name, each in (statistics or {}).items()}
    given = {key: (getattr(method, key),) * len(labels) for key in method.per_member if key != "weight"}
    given |= {key: tuple(numbers) for key, numbers in (values or {}).items() if key in given}
    merged = {}
    for name in model:
        tensors = tuple(state[name] for state in states)
        like = model[name]
        _check_alike(name, like, dict(zip(labels, tensors, strict=True)))
        if not like.is_floating_point():
            merged[name] = like.clone()
            continue
        numbers = tuple((weights(name) if callable(weights) else weights) or (1.0,) * len(labels))
        method.check_weights(numbers, name)
        operands = Operands(
            name=name,
            members=labels,
            tensors=tensors,
            base=None if origin is None else origin[name],
            values={"weight": numbers, **given},
            statistics={
                key: tuple(one[name] for one in each) for key, each in known.items() if all(name in one for one in each)
            },
            seed=seed,
        )
        merged[name] = merge_tensor(method, operands).to(like.dtype)
    return merged


def _under_one_set_of_names(base: Source | Tensors | None, members: list[Source | Tensors]) -> list[Any]:
    """Base and members; checkpoints whose names or ties differ are wrapped, state dicts stay as they are."""
    given = [*([] if base is None else [base]), *members]
    sources = [model for model in given if isinstance(model, Source)]
    if not sources or len(sources) < len(given):
        return [base, *members]
    return [*([None] if base is None else []), *unify(sources, base is not None).sources]


def merge_tensor(method: MergeMethod, operands: Operands) -> Tensor:
    """One merged tensor, fp32, in its shape; chunk by chunk where the method allows it."""
    survey = method.survey(operands)
    if method.whole:
        return method.merge(operands, survey)
    merged = torch.empty(operands.num_elements, device=operands.tensors[0].device)
    for chunk in operands.chunks():
        part = method.merge(chunk, survey)
        merged[chunk.offset : chunk.offset + len(part)] = part
    return merged.reshape(operands.tensors[0].shape)


def load_merged(model: nn.Module, tensors: Tensors) -> nn.Module:
    """The model with these weights: `model` itself, or a new one where the names are those of its checkpoints.

    A new one also where the model shares a weight between two modules and the merge has two: there it shares nothing.

    Args:
        model: changed in place when all names are its own.
        tensors: what a merge returned.

    Raises:
        CompressionError: weights are missing.
    """
    own = model.state_dict()
    parted = _parted(own, tensors)
    if parted or not set(tensors) <= set(own):
        config: Any = model.config
        if parted:
            config = type(config).from_dict(without_ties(config.to_dict()))
        return type(model).from_pretrained(  # type: ignore
            None, config=config, state_dict=dict(tensors), trust_remote_code=False
        )
    pointers = {own[name].data_ptr() for name in tensors}
    missing = [name for name in own if name not in tensors and own[name].data_ptr() not in pointers]
    if missing:
        raise CompressionError(f"{missing[0]} of {type(model).__name__} is missing; give the tensors of a whole model")
    model.load_state_dict(dict(tensors), strict=False)
    return model


def _parted(own: Mapping[str, Tensor], tensors: Tensors) -> bool:
    """Whether two names of one weight of the model have different values."""
    first: dict[tuple[int, torch.Size], str] = {}
    for name, tensor in own.items():
        if name in tensors and tensor.numel():
            other = first.setdefault((tensor.data_ptr(), tensor.shape), name)
            if other != name and not torch.equal(tensors[other], tensors[name]):
                return True
    return False


def on_model(model: nn.Module, metric: Callable[[nn.Module], float]) -> Callable[[Tensors], float]:
    """A function that scores state dicts by loading them into `model` and calling `metric` on it."""

    def evaluate(tensors: Tensors) -> float:
        return metric(load_merged(model, tensors))

    return evaluate


def _check_alike(name: str, like: Tensor, tensors: Mapping[str, Tensor]) -> None:
    """One tensor of all members: of one shape, and equal where it holds integers."""
    for label, tensor in tensors.items():
        if tensor.shape != like.shape:
            raise CompressionError(
                f"{name} has the shape {tuple(tensor.shape)} in {label} and {tuple(like.shape)} elsewhere; merge models of"
                " equal shapes, without their heads where those differ"
            )
    may_differ = like.is_floating_point() or name.endswith(_COUNTERS)
    if not may_differ and any(not torch.equal(tensor, like) for tensor in tensors.values()):
        raise CompressionError(
            f"{name} holds integers that differ between the members, which cannot be merged; give all of them the same"
        )


def _check(method: MergeMethod, labels: tuple[str, ...], base: Tensors | None, statistics: Mapping[str, Sequence]) -> None:
    """Everything that can be refused before a tensor is read."""
    least, most = method.num_members
    if len(labels) < least or (most is not None and len(labels) > most):
        raise CompressionError(
            f"{method.name} merges {least} to {'any number of' if most is None else most} members beside the base, and"
            f" {len(labels)} are given"
        )
    if method.needs_base and base is None:
        raise CompressionError(f"{method.name} merges task vectors; name the base model")
    for name in method.needs:
        if name not in statistics:
            raise CompressionError(
                f"{method.name} needs the statistic {name!r} of every member; measure it with collect(model, batches,"
                f" [{name!r}])"
            )
    for name, each in statistics.items():
        if len(each) != len(labels):
            raise CompressionError(f"statistics[{name!r}] is given for {len(each)} members of {len(labels)}; one each")
