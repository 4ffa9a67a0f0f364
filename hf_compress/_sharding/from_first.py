"""Models that the first process alone has loaded: the others have them without memory, and get from it what they need.

With FSDP's `cpu_ram_efficient_loading` accelerate sends the student, when it shards it. What it does not send is sent here.
"""

from typing import Any

import torch
from torch import Tensor, nn

from hf_compress import _distributed


def lacks_weights(model: nn.Module) -> bool:
    """Whether this process has parameters without memory, which are in the first one."""
    return any(parameter.is_meta for parameter in model.parameters())


def send_buffers(model: nn.Module) -> None:
    """Every process gets the first one's buffers; small ones, as classes compute them for themselves. All must call it."""
    here = {name: buffer.cpu() for name, buffer in model.named_buffers()} if _distributed.is_main() else None
    given: dict[str, Tensor] = _distributed.gather(here)[0]
    for name, buffer in list(model.named_buffers()):
        if buffer.is_meta and name in given:
            _put(model, name, given[name])


def make_room(model: nn.Module) -> None:
    """Parameters without memory get addresses, by which accelerate tells them apart; nothing is written there.

    A system gives memory to a process where it writes, so this costs none.
    """
    made: dict[int, nn.Parameter] = {}
    for name, parameter in list(model.named_parameters(remove_duplicate=False)):
        if parameter.is_meta:
            if id(parameter) not in made:
                empty = torch.empty_like(parameter, device="cpu")
                made[id(parameter)] = nn.Parameter(empty, requires_grad=parameter.requires_grad)
            _put(model, name, made[id(parameter)])


@torch.no_grad()
def send(model: nn.Module, device: torch.device) -> None:
    """Every process gets the first one's parameters, whole, tensor by tensor. All must call it.

    Args:
        model: with its buffers everywhere.
        device: where it goes, and where processes can send.
    """
    made: dict[int, nn.Parameter] = {}
    for name, parameter in list(model.named_parameters(remove_duplicate=False)):
        if id(parameter) not in made:
            here = torch.empty_like(parameter, device=device) if parameter.is_meta else parameter.detach().to(device)
            _distributed.broadcast(here, 0)
            made[id(parameter)] = nn.Parameter(here, requires_grad=parameter.requires_grad)
        _put(model, name, made[id(parameter)])
    model.to(device)  # buffers


def take_out(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters by name, and a model without memory in their place; tied ones stay one."""
    taken: dict[int, nn.Parameter] = {}
    given: dict[str, nn.Parameter] = {}
    for name, parameter in list(model.named_parameters(remove_duplicate=False)):
        if id(parameter) not in taken:
            given[name] = parameter
            empty = torch.empty_like(parameter, device="meta")
            taken[id(parameter)] = nn.Parameter(empty, requires_grad=parameter.requires_grad)
        _put(model, name, taken[id(parameter)])
    return given


def _put(model: nn.Module, name: str, tensor: Any) -> None:
    holder, _, own = name.rpartition(".")
    setattr(model.get_submodule(holder), own, tensor)
