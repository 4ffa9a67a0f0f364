"""A running average of a model's weights, and the exchange of one for the other."""

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from hf_compress._errors import CompressionError
from hf_compress._sharding.contract import local, reshard
from hf_compress.training.averaging.tensors import averaged_tensors, full_state_dict

Move = Callable[[list[Tensor], list[Tensor]], None]
"""Moves averages (first list, in place) towards the current values (second list); element by element."""


class Average:
    """The average of a model's weights over some points of a run.

    Works on what this process holds, so under FSDP2 every process averages its own shards and nothing is communicated.
    Kept in fp32 (fp64 for fp64 weights): updates of a thousandth of the difference round away in 16 bits.

    Args:
        buffers: average floating-point buffers too (BatchNorm's running statistics); otherwise the model's are used.
        keep_zeros: where a parameter of the model is exactly 0, so is the average that is evaluated and written.
        device: where the average is kept, e.g. "cpu"; None = beside the weights.

    Attributes:
        tensors: canonical name -> averaged local tensor.
        num_points: how many points are in it.
    """

    def __init__(self, *, buffers: bool = False, keep_zeros: bool = True, device: str | None = None) -> None:
        self.buffers, self.keep_zeros, self.device = buffers, keep_zeros, device
        self.tensors: dict[str, Tensor] = {}
        self.num_points = 0
        self._given_back: list[tuple[Tensor, Tensor]] = []
        self._model: nn.Module | None = None

    def adopt(self, current: Tensor) -> Tensor:
        """A tensor of the average that starts as `current`, which is copied."""
        dtype = torch.promote_types(current.dtype, torch.float32)
        return current.to(self.device or current.device, dtype, copy=True)

    @torch.no_grad()
    def add(self, model: nn.Module, move: Move) -> None:
        """Take the model's weights as the next point; the first one is copied.

        Raises:
            CompressionError: a parameter has become trainable since the first point.
        """
        current = averaged_tensors(model, self.buffers, self.tensors)
        if self.num_points == 0:
            self.tensors = {name: self.adopt(local(tensor)) for name, tensor in current.items()}
        else:
            self._check_names(current)
            together: tuple[list[Tensor], list[Tensor]] = [], []
            for name, tensor in current.items():
                average, value = self.tensors[name], local(tensor)
                if average.dtype == value.dtype and average.device == value.device:
                    together[0].append(average)
                    together[1].append(value)
                else:  # one at a time, so that no second copy of the model is made
                    move([average], [value.to(average.device, average.dtype)])
            if together[0]:
                move(*together)
        self.num_points += 1

    def _check_names(self, current: dict[str, Tensor]) -> None:
        for name in current:
            if name not in self.tensors:
                raise CompressionError(
                    f"{name} was frozen at the first point of the average and is trained now, so its average is unknown;"
                    " unfreeze it before, or set a later begin"
                )

    def value(self, name: str, current: Tensor) -> Tensor:
        """The averaged local tensor as it is evaluated and written: in the type and place of `current`."""
        average = self.tensors[name].to(current.device, current.dtype)
        return average.masked_fill(local(current) == 0, 0) if self._keeps_zeros(current) else average

    def _keeps_zeros(self, current: Tensor) -> bool:
        """Statistics may be 0 by right; weights are exactly 0 where somebody keeps them there."""
        return self.keep_zeros and isinstance(current, nn.Parameter)

    @torch.no_grad()
    def state_dict(self, model: nn.Module, keep: bool) -> dict[str, Tensor]:
        """The model's full state dict with the average in it; see `full_state_dict`."""
        names = {id(tensor): name for name, tensor in averaged_tensors(model, self.buffers, self.tensors).items()}

        def part(tensor: Tensor) -> Tensor:
            name = names.get(id(tensor))
            return local(tensor) if name is None else self.value(name, tensor)

        return full_state_dict(model, keep, part)

    @property
    def is_in(self) -> bool:
        """The average is in the model."""
        return self._model is not None

    @torch.no_grad()
    def enter(self, model: nn.Module) -> None:
        """Put the average into the model, in place; `leave` is the way back."""
        if self.is_in:
            return
        current = averaged_tensors(model, self.buffers, self.tensors)
        self._check_names(current)
        self._model = model
        for name, tensor in current.items():
            part = local(tensor)
            saved = part.clone()
            self._given_back.append((part, saved))
            part.copy_(self.tensors[name])
            if self._keeps_zeros(tensor):
                part.masked_fill_(saved == 0, 0)

    @torch.no_grad()
    def leave(self) -> None:
        """Give the model its own weights back, bit for bit; nothing where they are in it already."""
        if self._model is None:
            return
        reshard(self._model)
        while self._given_back:
            part, saved = self._given_back.pop()
            part.copy_(saved)
        self._model = None

    @contextlib.contextmanager
    def inside(self, model: nn.Module) -> Iterator[None]:
        """The model holds the average inside the block, and its own weights after it, however the block ends."""
        self.enter(model)
        try:
            yield
        finally:
            self.leave()
