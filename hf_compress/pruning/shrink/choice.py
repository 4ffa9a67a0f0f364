"""What stays of one model, and what that saves: made before anything is touched."""

import contextlib
import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from torch import nn

from hf_compress._forward.macs import count_macs
from hf_compress._forward.probe import probe_inputs, unpadded_inputs
from hf_compress._modules.names import model_name
from hf_compress.pruning.shrink.dimensions import Dimensions, StackDimensions
from hf_compress.pruning.shrink.pieces import Kept, KeptStack
from hf_compress.pruning.shrink.plan import Importance

_SHOWN = 8
"""Places that a line names of what goes."""
_LOSS = "how the loss of the batches would change without them, to first order"
_PARTS_BY: dict[Importance, str] = {
    "weights": "the norms of their weights",
    "activations": "what they write on the batches",
    "taylor": _LOSS,
}
_CHANNELS_BY: dict[Importance, str] = {
    "weights": "the norms of all weights that go with them",
    "activations": "what the norms give on the batches",
    "taylor": _LOSS,
}


@dataclass(frozen=True, kw_only=True)
class Size:
    """Of a model.

    Attributes:
        parameters: numbers, a tied one once.
        parameter_bytes: of them as they are stored.
        macs: multiplications with an addition of a pass over one row; None where no pass could be tried.
    """

    parameters: int
    parameter_bytes: int
    macs: int | None


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """Counts within a budget that were tried.

    Attributes:
        counts: in words.
        parameters: of the model that they leave.
        macs: the same of `Size`.
        lost: importance, in [0, 1].
        loss: on the batches, before any training.
        taken: whether it is what stays.
    """

    counts: str
    parameters: int
    macs: int | None
    lost: float
    loss: float
    taken: bool


@dataclass(frozen=True, kw_only=True)
class ShrinkChoice:
    """Which parts of a model stay.

    Attributes:
        kept: the places of what stays.
        made_for: the model's counts; `shrink` refuses another model.
        left: those of the shrunk model.
        influence: of every layer of each stack, by its name, where layers were chosen by it.
        removed: the layers of each stack that went one by one, in that order, each with the loss without it; None where
            layers were not chosen so.
        importance: what units, heads and channels were chosen by.
        before: the model's size.
        after: that of the shrunk one.
        row: the row that `macs` counts, in words.
        candidates: what was tried within a budget; empty where counts were given.
        dense_loss: that of the whole model on the same batches; None without candidates.
    """

    kept: Kept
    made_for: Dimensions
    left: Dimensions
    influence: Mapping[str, tuple[float, ...]] | None
    importance: Importance
    before: Size
    after: Size
    row: str
    removed: Mapping[str, tuple[tuple[int, float], ...]] | None = None
    candidates: tuple[Candidate, ...] = ()
    dense_loss: float | None = None

    def describe(self) -> str:
        """What goes, layer by layer, and parameters, bytes and MACs before and after, in lines."""
        lines = [str(self.made_for)]
        if self.kept.channels is not None:
            channels = _going("channel", "channels of the hidden states", self.kept.channels, self.made_for.hidden)
            lines.append(f"{channels}, chosen by {_CHANNELS_BY[self.importance]}")
        for own, kept in zip(self.made_for.stacks, self.kept.stacks, strict=True):
            influence = (self.influence or {}).get(own.name)
            losses = dict((self.removed or {}).get(own.name, ()))
            for place in range(own.layers):
                if place not in kept.layers:
                    measured = "" if influence is None else f" (block influence {influence[place]:.4f})"
                    measured = f" (loss {losses[place]:.4f} then)" if place in losses else measured
                    lines.append(f"{own.of}layer {place} goes{measured}")
            lines += [
                f"{own.of}layer {place}: {'; '.join(going)}"
                for new, place in enumerate(kept.layers)
                if (going := _going_in(own, kept, new))
            ]
        if any(
            kept != KeptStack(layers=kept.layers, experts=kept.experts, unseen=kept.unseen) for kept in self.kept.stacks
        ):
            lines.append(f"chosen by {_PARTS_BY[self.importance]}")
        if any(kept.experts is not None for kept in self.kept.stacks):
            lines.append("experts chosen by what they add to the tokens of the batches: router weight x norm of the output")
        return "\n".join([*lines, *size_lines(self.before, self.after, self.row), *self._tried()])

    def _tried(self) -> list[str]:
        """A line for each candidate, the one that is taken marked."""
        if not self.candidates:
            return []
        rows = [
            f"{'->' if one.taken else '  '} {one.counts}: {one.parameters:,} parameters"
            f"{'' if one.macs is None else f', {one.macs:,} MACs'}, importance lost {one.lost:.4f}, loss {one.loss:.4f}"
            for one in self.candidates
        ]
        return [f"within the budget were tried (loss of the whole model {self.dense_loss:.4f}):", *rows]

    def sentence(self) -> str:
        """What was removed and what that saves, in one sentence for reports."""
        stacks = zip(self.made_for.stacks, self.kept.stacks, strict=True)
        places = {own.of: [place for place in range(own.layers) if place not in kept.layers] for own, kept in stacks}
        gone = [f"{of}layers {', '.join(map(str, each))}" for of, each in places.items() if each]
        layers = f" ({' and '.join(gone)} are gone)" if gone else ""
        saved = "; ".join(size_lines(self.before, self.after, self.row))
        return f"shrunk from {self.made_for} to {self.left.counts_after(self.made_for)}{layers}; {saved}"

    def to_plain(self, full: bool = True) -> dict[str, Any]:
        """As plain data, from which `from_plain` makes it again; all of it, whatever is asked for."""
        return json.loads(json.dumps(dataclasses.asdict(self)))  # type: ignore[no-any-return]  # tuples become lists

    @classmethod
    def from_plain(cls, data: dict[str, Any]) -> Self:
        """Back from `to_plain`.

        Raises:
            TypeError, KeyError: it is no choice.
        """
        plain, counts = _tuples(data), (Dimensions, StackDimensions)
        kinds = {"kept": (Kept, KeptStack), "made_for": counts, "left": counts}
        for part, (kind, stack) in kinds.items():
            plain[part] = kind(**{**plain[part], "stacks": tuple(stack(**one) for one in plain[part]["stacks"])})
        plain["candidates"] = tuple(Candidate(**one) for one in plain.get("candidates", ()))
        return cls(**{**plain, "before": Size(**plain["before"]), "after": Size(**plain["after"])})


def _tuples(value: Any) -> Any:
    """Lists as the tuples that they were."""
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def _going_in(own: StackDimensions, kept: KeptStack, new: int) -> list[str]:
    """What goes in a layer that stays."""
    going = []
    if kept.groups is not None:
        going.append(_going("head", "heads", _heads(kept.groups[new], own), own.heads))
    if kept.cross_groups is not None:
        going.append(_going("head", "cross-attention heads", _heads(kept.cross_groups[new], own), own.heads))
    if kept.units is not None:
        going.append(_going("unit", "units", kept.units[new], own.units))
    if kept.experts is not None:
        going.append(_going("expert", "experts", kept.experts[new], own.experts))
    if kept.unseen is not None and kept.unseen[new]:
        going.append(f"no token reached expert {', '.join(map(str, kept.unseen[new]))}, which nothing is known of: kept")
    if kept.expert_units is not None:
        going.append(f"{own.units - len(kept.expert_units[new][0])} of {own.units} units of each expert go")
    return going


def _heads(groups: Sequence[int], dimensions: StackDimensions) -> list[int]:
    """The query heads of groups."""
    return [group * dimensions.per_group + head for group in groups for head in range(dimensions.per_group)]


def _going(one: str, several: str, kept: Sequence[int], total: int) -> str:
    staying = set(kept)
    gone = [place for place in range(total) if place not in staying]
    if not gone:
        return f"all {total} {several} stay"
    more = ", ..." if len(gone) > _SHOWN else ""
    verb = "goes" if len(gone) == 1 else "go"
    return f"{len(gone)} of {total} {several} {verb} ({one} {', '.join(map(str, gone[:_SHOWN]))}{more})"


def size_lines(before: Size, after: Size, row: str) -> list[str]:
    """Parameters, bytes and MACs, each before and after.

    Args:
        before: the model's.
        after: the shrunk one's.
        row: that MACs are counted for, in words.
    """
    return [
        _change("parameters", before.parameters, after.parameters),
        _change("bytes", before.parameter_bytes, after.parameter_bytes),
        _change(f"MACs of {row}", before.macs, after.macs),
    ]


def _change(what: str, before: int | None, after: int | None) -> str:
    if before is None or after is None:
        return f"{what}: not counted"
    return f"{what}: {before:,} -> {after:,} ({after / before - 1:+.1%})"


def size_of(built: Any, bytes_of_each: Iterable[tuple[str, int]], counted: bool = True) -> Size:
    """Of a model without memory.

    Args:
        built: in evaluation mode.
        bytes_of_each: parameter name and the bytes of one number, for each parameter.
        counted: count multiplications, which takes a pass.
    """
    item = dict(bytes_of_each)
    parameters = dict(built.named_parameters())  # a tied one once
    return Size(
        parameters=sum(parameter.numel() for parameter in parameters.values()),
        parameter_bytes=sum(parameter.numel() * item[name] for name, parameter in parameters.items()),
        macs=_macs(built) if counted else None,
    )


def _macs(built: Any) -> int | None:
    """Without memory a pass must not look at values: some look for padding without a mask, some into the mask.

    Written-out attention asks the mask least, and counts the same.
    """
    built.set_attn_implementation("eager")
    with contextlib.suppress(ValueError):  # of models without experts; the others would ask which experts tokens reach
        built.set_experts_implementation("batched_mm")
    for batch in (probe_inputs(built, batch_size=1), unpadded_inputs(built, batch_size=1)):
        with contextlib.suppress(Exception):  # what a pass needs it says in many ways
            return count_macs(built, batch or {})
    return None


def row_in_words(built: nn.Module) -> str:
    """The row that MACs are counted for."""
    batch = probe_inputs(built, batch_size=1)
    if batch is None:
        return f"a row of {model_name(built)}"
    return " and ".join(f"{key} {tuple(value.shape)}" for key, value in batch.items())
