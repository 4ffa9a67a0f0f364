"""Members on several devices: a thread for each device, so that none waits for another's."""

import contextlib
from collections.abc import Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import nn

from hf_compress._errors import CompressionError, reason_of


def asked_in_lanes(members: Sequence[nn.Module], inputs: Sequence[dict[str, Any]], lanes: Sequence[Hashable]) -> list[Any]:
    """The members' outputs, in their order; members of one lane are asked one after the other.

    Gradients, inference mode and autocast are the caller's; on CUDA the caller's streams are used.

    Args:
        members: each with its inputs on its own device.
        inputs: of each member.
        lanes: of each member: its device.
    """
    places = {lane: [place for place, own in enumerate(lanes) if own == lane] for lane in dict.fromkeys(lanes)}
    devices = {lane: next(members[own[0]].parameters()).device for lane, own in places.items()}
    modes = {lane: _modes(device) for lane, device in devices.items()}

    def ask(lane: Hashable) -> list[tuple[int, Any]]:
        with contextlib.ExitStack() as entered:
            for make, arguments, options in modes[lane]:
                entered.enter_context(make(*arguments, **options))
            return [(place, members[place](**inputs[place])) for place in places[lane]]

    with ThreadPoolExecutor(len(places)) as pool:
        found = dict(pair for pairs in pool.map(ask, places) for pair in pairs)
    return [found[place] for place in range(len(members))]


def accelerators() -> list[torch.device]:
    """Those of this machine, each with its number."""
    if not torch.accelerator.is_available():
        return []
    kind = torch.accelerator.current_accelerator()
    assert kind is not None
    return [torch.device(kind.type, number) for number in range(torch.accelerator.device_count())]


def checked_devices(devices: Sequence[Any] | None) -> list[torch.device]:
    """Devices to spread members over.

    Args:
        devices: None for all accelerators of the machine.

    Raises:
        CompressionError: there are fewer than two, one is none of this machine, or they are no list.
    """
    if isinstance(devices, str):
        raise CompressionError(f"devices={devices!r} is one text; give a list of two or more, such as ['cuda:0', 'cuda:1']")
    try:
        found = accelerators() if devices is None else [torch.device(one) for one in devices]
        for device in dict.fromkeys(found):
            torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:  # torch's words for a device that it does not know or have
        raise CompressionError(
            f"devices={[str(one) for one in devices or ()]}: one is none of this machine ({reason_of(error)})"
        ) from error
    if len(set(found)) < 2 or any(device.type == "meta" for device in found):
        shown = ", ".join(dict.fromkeys(map(str, found))) or "no accelerator"
        raise CompressionError(
            f"members are spread over two devices or more, and here is {shown}; leave them where they are"
        )
    return found


def _modes(device: torch.device) -> list[tuple[Any, tuple[Any, ...], dict[str, Any]]]:
    """What the calling thread has switched on, as context managers for another thread."""
    made: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = [
        (torch.inference_mode, (torch.is_inference_mode_enabled(),), {}),
        (torch.set_grad_enabled, (torch.is_grad_enabled(),), {}),
    ]
    if torch.is_autocast_enabled(device.type):
        made.append((torch.autocast, (device.type,), {"dtype": torch.get_autocast_dtype(device.type)}))
    if device.type == "cuda":
        made.append((torch.cuda.stream, (torch.cuda.current_stream(device),), {}))
    return made
