"""In which order an ensemble's members are asked: one by one, as one, or on several devices at once."""

import logging
import threading
import time
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from hf_compress._errors import CompressionError
from hf_compress.ensembling.modelling.by_device import asked_in_lanes, checked_devices
from hf_compress.ensembling.modelling.config import check_execution
from hf_compress.ensembling.modelling.stacked import CLOSE, StackedMembers, distance, stacked_answers, why_not_stacked

_LOG = logging.getLogger(__name__)
_ROUNDS, _LONG_S = 3, 0.5
"""How often `auto` asks in each way; once where that takes longer than this many seconds."""
_GAIN = 0.95
"""Another way than one by one is taken if it needs at most this share of the time."""


class Asking:
    """What an ensemble knows of ways to ask its members: their weights as one, and which way was the fastest.

    A copy of the ensemble, and one that was pickled, begins anew.
    """

    def __init__(self) -> None:
        self.stack: StackedMembers | None = None
        self.fastest: dict[Any, str] = {}
        self.refused: dict[str, str] = {}
        self.lock = threading.RLock()

    def __reduce__(self) -> Any:
        return type(self), ()


class Execution:
    """The part of an ensemble that asks its members, as `config.execution` says.

    | execution | members are asked | for |
    |---|---|---|
    | sequential | one after the other | all |
    | stacked | as one, by `torch.func`: (M, ...) weights, one pass | one architecture, on one device; many small members |
    | devices | at once, a thread for each device | members on several devices, as `place_members` puts them |
    | auto | in the fastest of the possible ways, measured once for each size of inputs (to a power of 2) | all |

    Answers differ by rounding alone: at most 1e-5 of the largest (four steps of the type, below fp32), which is looked at
    when members are stacked. In training mode, where gradients are wanted, and while torch compiles or exports,
    members are asked one after the other (those on several devices still on them). So they are by `auto` where
    `torch.use_deterministic_algorithms` is on: it chooses by the clock.
    """

    config: Any
    members: nn.ModuleList
    asking: Asking

    @staticmethod
    def device_of(member: Any) -> torch.device:
        """Where a member's weights are."""
        return member.device  # type: ignore[no-any-return]

    def set_execution(self, execution: str) -> Self:
        """Ask members in another way from here on.

        Args:
            execution: auto, sequential, stacked or devices.

        Raises:
            CompressionError: it is none of them, or these members cannot be asked so; nothing has changed then.
        """
        check_execution(execution)
        if execution != "auto":
            self._check_kind(execution)
        if execution == "stacked":
            self._refuse_unstackable()
        if execution == "devices":
            self._refuse_one_device()
        self.config.execution = execution
        self.asking = Asking()
        return self

    def place_members(self, devices: Sequence[Any] | None = None) -> Self:
        """Put members on several devices, in turn, and ask those of different devices at once.

        Answers are gathered on the first member's device, where parts of the ensemble's own are as well.

        Args:
            devices: where to; None for all accelerators of the machine.

        Raises:
            CompressionError: there are fewer than two.
        """
        self._check_kind("devices")
        found = checked_devices(devices)
        for place, member in enumerate(self.members):
            member.to(found[place % len(found)])
        for name, part in self.named_children():  # type: ignore[attr-defined]
            if name != "members":
                part.to(found[0])
        return self.set_execution("devices")

    def ask(self, inputs: list[dict[str, Any]]) -> list[Any]:
        """All members' outputs.

        Args:
            inputs: of each member, on its device.

        Raises:
            CompressionError: the config asks for a way in which these members cannot be asked.
        """
        wanted = self.config.execution
        if wanted == "sequential" or torch.compiler.is_compiling():
            return self._one_by_one(inputs)
        if wanted == "devices":
            self._refuse_one_device()
            return self._one_by_one(inputs) if self._trains() else self._by_device(inputs)
        if self._trains() or self._wants_gradients(inputs):
            return self._one_by_one(inputs)
        if wanted == "stacked":
            return self._stacked(inputs)
        return self._fastest(inputs)

    def _one_by_one(self, inputs: list[dict[str, Any]]) -> list[Any]:
        return [member(**own) for member, own in zip(self.members, inputs, strict=True)]

    def _by_device(self, inputs: list[dict[str, Any]]) -> list[Any]:
        return asked_in_lanes(list(self.members), inputs, self._devices())

    def _stacked(self, inputs: list[dict[str, Any]]) -> list[Any]:
        """As one; the first time that members are stacked they are also asked one by one, and their answers compared."""
        known = self.asking
        with known.lock:
            if known.stack is not None and known.stack.fits(list(self.members)):
                return stacked_answers(known.stack, inputs[0])
            known.stack = None  # before there is another, so that weights are there once
            self._refuse_unstackable()
            stack = StackedMembers(list(self.members))
            try:
                found = stacked_answers(stack, inputs[0])
            except CompressionError as error:
                raise CompressionError(f"execution='stacked': {error}; write auto or sequential") from error
            apart = distance(found, self._one_by_one(inputs))
            if not apart <= CLOSE:
                raise CompressionError(
                    f"execution='stacked': answers differ from those of members asked one by one by {apart:.3g} of the"
                    f" largest ({CLOSE:g} is tolerated); write auto or sequential"
                )
            known.stack = stack
            return found

    def _fastest(self, inputs: list[dict[str, Any]]) -> list[Any]:
        """In the way that was the fastest for inputs of this size; the first time all ways are tried."""
        ways: dict[str, Any] = {"sequential": self._one_by_one}
        if len(set(self._devices())) > 1:
            ways["devices"] = self._by_device
        elif "stacked" not in self.asking.refused:
            ways["stacked"] = self._stacked
        if len(ways) == 1 or torch.are_deterministic_algorithms_enabled():
            return self._one_by_one(inputs)
        size = (*self._devices(), torch.is_autocast_enabled(self._devices()[0].type), *_size(inputs))
        if size in self.asking.fastest:
            return self._known(self.asking.fastest[size], ways, inputs)
        outputs = self._one_by_one(inputs)
        seconds: dict[str, list[float]] = {}
        for way in list(ways):
            try:
                ways[way](inputs)  # what is prepared once costs nothing later
                seconds[way] = []
            except (CompressionError, torch.OutOfMemoryError) as error:
                self._refused(way, error)
        for _ in range(_ROUNDS if len(seconds) > 1 else 0):
            for way, times in seconds.items():
                times.append(self._seconds(ways[way], inputs))
            if sum(times[0] for times in seconds.values()) > _LONG_S:
                break
        if len(seconds) > 1:
            self.asking.fastest[size] = min(
                seconds, key=lambda way: min(seconds[way]) * (_GAIN if way == "sequential" else 1)
            )
        return outputs

    def _known(self, fastest: str, ways: dict[str, Any], inputs: list[dict[str, Any]]) -> list[Any]:
        """In this way; one by one where members have changed so that it is none any more."""
        if fastest != "stacked" or fastest not in ways:
            return ways.get(fastest, self._one_by_one)(inputs)  # type: ignore[no-any-return]
        try:
            return self._stacked(inputs)
        except CompressionError as error:
            self._refused(fastest, error)
            return self._one_by_one(inputs)

    def _refused(self, way: str, error: Exception) -> None:
        """`auto` goes on without this way: for good where the members are why, and not for want of memory."""
        if isinstance(error, CompressionError):
            self.asking.refused[way] = str(error)
        _LOG.info("members are not asked in the way %r: %s", way, error)

    def _seconds(self, way: Any, inputs: list[dict[str, Any]]) -> float:
        devices = [device for device in set(self._devices()) if device.type != "cpu"]
        for device in devices:
            torch.accelerator.synchronize(device)
        start = time.perf_counter()
        way(inputs)
        for device in devices:
            torch.accelerator.synchronize(device)
        return time.perf_counter() - start

    def _devices(self) -> list[torch.device]:
        return [self.device_of(member) for member in self.members]

    def _trains(self) -> bool:
        return any(member.training for member in self.members)

    def _wants_gradients(self, inputs: list[dict[str, Any]]) -> bool:
        if not torch.is_grad_enabled():
            return False
        given = [value for own in inputs for value in own.values() if isinstance(value, Tensor)]
        return any(tensor.requires_grad for tensor in (*self.members.parameters(), *given))

    def _check_kind(self, execution: str) -> None:
        """Refuse a way that this kind of ensemble has no use for, which its config knows."""
        before = self.config.execution
        try:
            self.config.execution = execution
            self.config.check_way()
        finally:
            self.config.execution = before

    def _refuse_unstackable(self) -> None:
        why = why_not_stacked(list(self.members), self.config.names, self.config.input_groups)
        if why:
            raise CompressionError(f"execution='stacked': {why}; write auto or sequential")

    def _refuse_one_device(self) -> None:
        devices = self._devices()
        if len(set(devices)) == 1:
            raise CompressionError(
                f"execution='devices': all members are on {devices[0]}; place_members spreads them over several devices, or"
                " write auto"
            )


def _size(inputs: list[dict[str, Any]]) -> tuple[Any, ...]:
    """What decides how long members take: the shapes of their inputs, each length to the next power of 2."""
    return tuple(
        (name, value.dtype, *((length - 1).bit_length() if length else -1 for length in value.shape))
        for own in inputs
        for name, value in own.items()
        if isinstance(value, Tensor)
    )
