"""Statistics of a model block by block: each block's inputs come from the blocks before it as they have become by then."""

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from hf_compress import _distributed
from hf_compress._errors import CompressionError
from hf_compress._forward.batch import on_device
from hf_compress._modules.hooks import removed_afterwards
from hf_compress._modules.modes import evaluation_mode
from hf_compress._progress import progress as shown
from hf_compress._sharding.contract import compute_device, is_sharded
from hf_compress.calibration.chains import Stage, first_tensor, forward_arguments, stages_in_order
from hf_compress.calibration.collect import Collected, finished
from hf_compress.calibration.inputs import ObservedInputs
from hf_compress.calibration.statistic import Statistic, statistics_of


@dataclass(kw_only=True)
class Call:
    """A call of a block, or of the whole model.

    Attributes:
        batch: of the model.
        args: by place.
        kwargs: by name.
    """

    batch: Mapping[str, Any]
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(kw_only=True)
class Part:
    """What a visitor gets: layers, and how to run what holds them.

    Attributes:
        name: of the block; empty where the module is the whole model.
        module: the block, or the whole model.
        layers: by name.
        calls: of the module, one for each batch.
    """

    name: str
    module: nn.Module
    layers: dict[str, nn.Module]
    calls: Sequence[Call]

    def outputs(self) -> Iterator[Any]:
        """What the module gives as its weights are now, batch by batch."""
        return (self.module(*call.args, **call.kwargs) for call in self.calls)


Visit = Callable[[Part, Collected], None]
"""Called with a part and the statistics of its layers; it may change their weights."""


def collect_in_order(
    model: nn.Module,
    batches: Iterable[Mapping[str, Any]],
    needs: Sequence[str | Statistic],
    modules: Mapping[str, nn.Module],
    visit: Visit,
    *,
    progress: str = "",
) -> None:
    """Measure and change a model block by block, from the first to the last.

    The statistics of a block are of the inputs that the blocks before it give, after `visit` changed these. Where blocks
    feed one another each of them runs three times over the batches (recorded, measured, run on), and memory holds the
    hidden states of one place. Layers outside of such a chain, and blocks that form none, are measured in passes of the
    whole model.

    Args:
        model: a transformers model, on the device to compute on; runs in evaluation mode, without a cache.
        batches: keyword arguments of it, (B, ...) tensors; all of them are kept while this runs.
        needs: statistics of inputs, or their names.
        modules: the layers by name.
        visit: changes a part.
        progress: what a progress bar of the main process says; none without.

    Raises:
        CompressionError: there are no batches, a statistic needs gradients, the model is sharded, or see `collect`.
    """
    statistics = statistics_of(needs)
    for one in statistics:
        if one.needs_gradient:
            raise CompressionError(
                f"{one.name} is of gradients, which go through the whole model; collect it at once, and not block by block"
            )
    if is_sharded(model):
        raise CompressionError("a sharded model runs as a whole; go through its blocks in one process, or under DDP")
    device = compute_device(next(model.parameters()))
    kept = [on_device(batch, device) for batch in batches]
    if not all(_distributed.gather(len(kept))):
        raise CompressionError("batches is empty; statistics need examples, and every process some of its own")
    with evaluation_mode(model), torch.no_grad():
        chains = stages_in_order(model, kept[0], modules)
        parts = itertools.chain.from_iterable(_parts(model, chain, kept) for chain in chains)
        for part in shown(parts, progress, total=sum(map(len, chains)), leave=False):
            observed = ObservedInputs(part.layers, statistics)
            for call in part.calls if statistics else ():
                with observed.watching(model, call.batch):
                    part.module(*call.args, **call.kwargs)
            visit(part, finished(observed.totals, part.layers, device))


def _parts(model: nn.Module, chain: Sequence[Stage], batches: Sequence[Mapping[str, Any]]) -> Iterator[Part]:
    """The parts of a chain; the hidden states go on when the next one is asked for."""
    if len(chain) == 1:
        calls = [Call(batch=batch, kwargs=forward_arguments(model, batch)) for batch in batches]
        yield Part(name=chain[0].name, module=model, layers=chain[0].layers, calls=calls)
        return
    recorded = _record(model, chain, batches)
    for place, stage in enumerate(chain):
        assert stage.block is not None and stage.takes is not None
        part = Part(name=stage.name, module=stage.block, layers=stage.layers, calls=recorded[place])
        yield part
        if place + 1 < len(chain):
            for batch, output in enumerate(part.outputs()):
                hidden = first_tensor(output)
                recorded[place + 1][batch] = _with_hidden(recorded[place + 1][batch], stage.takes, hidden)
        recorded[place] = []


def _record(model: nn.Module, chain: Sequence[Stage], batches: Sequence[Mapping[str, Any]]) -> list[list[Call]]:
    """What each block of a chain is called with: stage by stage, batch by batch; hidden states of the first alone."""
    found: list[list[Call]] = [[] for _ in chain]

    def record(batch: Mapping[str, Any], place: int) -> Any:
        def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            call = Call(batch=batch, args=args, kwargs=dict(kwargs))
            found[place].append(call if place == 0 else _with_hidden(call, chain[place].takes, None))
            if place + 1 == len(chain):
                raise _AllSeenError

        return before

    for batch in batches:
        hooks = [
            stage.block.register_forward_pre_hook(record(batch, place), with_kwargs=True)  # type: ignore[union-attr]
            for place, stage in enumerate(chain)
        ]
        with removed_afterwards(hooks), contextlib.suppress(_AllSeenError):
            model(**forward_arguments(model, batch))
    return found


def _with_hidden(call: Call, takes: int | str | None, hidden: Tensor | None) -> Call:
    """The call with other hidden states."""
    if isinstance(takes, int):
        args = (*call.args[:takes], hidden, *call.args[takes + 1 :])
        return Call(batch=call.batch, args=args, kwargs=call.kwargs)
    assert takes is not None
    return Call(batch=call.batch, args=call.args, kwargs={**call.kwargs, takes: hidden})


class _AllSeenError(Exception):
    """The last block of a chain has been reached; the rest of the pass is not needed."""
