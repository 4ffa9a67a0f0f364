"""DeepSpeed ZeRO, stages 1 and 2: every process holds whole weights, and a piece of the masters behind them."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from hf_compress._sharding.backends.plain import Plain
from hf_compress._sharding.contract import Change, hook_on_gradient


@dataclass(frozen=True, kw_only=True)
class ZeRO(Plain, name="zero"):
    """The step is taken on flat fp32 masters that are cut anywhere, one piece per process, and the weights follow them.

    So what is changed in the weights alone is undone by the next step. DeepSpeed notes on each weight which part of it the
    process's piece holds (`_hp_mapping`, None where it holds none); its public functions for the same (`safe_get_full_...`)
    send every master to all processes at each call, where an edit of each piece needs nothing sent.

    A change is given tensors of the weight's shape; of a master and of momenta what other processes hold is the weight's.
    """

    general: ClassVar[bool] = False

    def holds(self, tensor: Tensor) -> bool:
        """A weight that a ZeRO optimizer trains."""
        return hasattr(tensor, "_hp_mapping")

    def edit(self, parameter: Tensor, change: Change) -> None:
        """The weight, and this process's piece of its master."""
        mapping = _mapping(parameter)
        if mapping is not None:  # first, so that a change which looks at the weight finds the old one
            _edit_piece(parameter, mapping, mapping.get_hp_fragment(), change)
        change(self.local(parameter))

    def gradient(self, parameter: Tensor) -> Tensor | None:
        """None: backward() takes the step as well, see `follow_gradient`."""
        return None

    def follow_gradient(self, parameter: Tensor, change: Change) -> RemovableHandle:
        """Each micro-batch's, before DeepSpeed adds it up, cuts it and clips."""
        return hook_on_gradient(parameter, change)

    def edit_states(self, parameter: Tensor, optimizer: torch.optim.Optimizer, change: Change) -> None:
        """This process's pieces of what the optimizer keeps of its flat masters, one per group of parameters.

        Read from there, because DeepSpeed notes on the weights the states of its first group alone.
        """
        mapping = _mapping(parameter)
        if mapping is None:
            return
        (master,) = optimizer.param_groups[mapping.param_group_index]["params"]
        place = mapping.get_hp_fragment_address()
        for state in optimizer.state.get(master, {}).values():
            if isinstance(state, Tensor) and state.shape == master.shape:
                _edit_piece(parameter, mapping, state.narrow(0, place.start, place.numel), change)


def _mapping(parameter: Tensor) -> Any:
    return parameter._hp_mapping  # type: ignore[attr-defined]


def _edit_piece(parameter: Tensor, mapping: Any, piece: Tensor, change: Change) -> None:
    """Change a flat piece of a tensor of the weight's shape, where the weight is: the piece may be kept elsewhere."""
    place = mapping.lp_fragment_address
    full = parameter.detach().to(piece.dtype, copy=True, memory_format=torch.contiguous_format)
    here = full.view(-1).narrow(0, place.start, place.numel)
    here.copy_(piece)
    change(full)
    piece.data.copy_(here)
