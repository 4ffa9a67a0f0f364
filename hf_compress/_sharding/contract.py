"""The contract of a way of sharding: this process's part of a tensor, and the way to the whole one.

Whoever edits weights works on parts and adds up what he counts, so that the same lines run in one process, under DDP and
where no process holds a whole weight. The functions at the end ask the sharding that a tensor has.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from hf_compress._errors import CompressionError
from hf_compress._registry import Strategy
from hf_compress._sharding.across import ALONE, Across

Change = Callable[[Tensor], Any]
"""Changes a part in place."""


@dataclass(frozen=True, kw_only=True)
class Sharding(Strategy, kind="sharding", package="hf_compress._sharding.backends"):
    """How tensors lie in processes.

    A tensor has the sharding that `holds` it, so the parts of one model may have several (buffers lie whole in every
    process). Methods that communicate say so: every process must call them, for the same tensors in the same order.

    Attributes:
        general: it holds what no other does, and is asked last.
        keeps_whole: every process has the whole tensor, in its usual place.
        shards_others: `shard_like` lays out other models, teachers, in the same way.
        flat: a part is a run of the flattened tensor, (1, n) wherever it ends, or the whole.
    """

    general: ClassVar[bool] = False
    keeps_whole: ClassVar[bool] = False
    flat: ClassVar[bool] = False
    shards_others: ClassVar[bool] = False

    def holds(self, tensor: Tensor) -> bool:
        """Whether a tensor lies so."""
        return False

    def refusal(self, model: nn.Module) -> str | None:
        """Why nothing can be done to a model that lies so, or None: what follows "pruning " or "weight averaging "."""
        return None

    def local(self, tensor: Tensor) -> Tensor:
        """This process's part, sharing its memory, without gradient; empty where this process holds nothing of it."""
        raise TypeError(f"{type(self).__name__} defines no local()")

    def shape(self, tensor: Tensor) -> torch.Size:
        """The shape of the whole tensor."""
        return tensor.shape

    def dimension(self, tensor: Tensor) -> int | None:
        """The dimension along which processes hold neighbouring slices, in their order; None where each holds all."""
        return None

    def across(self, tensor: Tensor) -> Across:
        """The processes that hold the other parts.

        Raises:
            CompressionError: the parts are no slices along one dimension.
        """
        return ALONE

    def whole(self, part: Tensor, like: Tensor) -> Tensor:
        """The full tensor, where `part` is. Communicates.

        Args:
            part: of the shape of `local(like)`, of any type.
            like: the tensor whose sharding is followed.
        """
        raise TypeError(f"{type(self).__name__} defines no whole()")

    def shard(self, full: Tensor, like: Tensor) -> Tensor:
        """This process's part of a full tensor, sharded as `like` is; nothing is communicated."""
        raise TypeError(f"{type(self).__name__} defines no shard()")

    def edit(self, parameter: Tensor, change: Change) -> None:
        """Change this process's part of a parameter, and every copy that training goes on from (fp32 masters)."""
        change(self.local(parameter))

    def gradient(self, parameter: Tensor) -> Tensor | None:
        """This process's part of the gradient, sharing its memory; None where there is none."""
        return None if parameter.grad is None else self.local(parameter.grad)

    def follow_gradient(self, parameter: Tensor, change: Change) -> RemovableHandle | None:
        """Change every gradient of a parameter as it is computed, where the optimizer's step begins before one can look.

        Args:
            parameter: whose.
            change: of this process's part of the gradient, in place; of the whole one where a pass puts whole weights
                together, and the weight itself is whole then.

        Returns:
            What `remove` ends it by; None where `gradient` shows the gradient in time.
        """
        return None

    def edit_states(self, parameter: Tensor, optimizer: torch.optim.Optimizer, change: Change) -> None:
        """Change this process's parts of what the optimizer keeps per entry of a parameter (momenta)."""
        for value in optimizer.state.get(parameter, {}).values():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                change(self.local(value))

    def loading_whole(self) -> AbstractContextManager[None]:
        """Inside, a model that is loaded is whole in the process that loads it, whatever this run does to models."""
        return nullcontext()

    def reshard(self, model: nn.Module) -> None:
        """Give back what a forward pass has gathered, so that the model shows its parts."""

    def device(self, tensor: Tensor) -> torch.device:
        """Where a forward pass computes with it, which is not where a part lies that is offloaded."""
        return tensor.device

    def shard_like(self, model: nn.Module, like: Tensor) -> None:
        """Lay out a frozen model in the processes over which a tensor lies, in place. Communicates."""
        raise CompressionError(f"no other model is laid out as {self.name} lies; set teacher.shard to never")

    def original_class(self, cls: type[nn.Module]) -> type[nn.Module]:
        """The class that a module was of before it was sharded, where that has changed it."""
        return cls


def hook_on_gradient(parameter: Tensor, change: Change) -> RemovableHandle:
    """`Sharding.follow_gradient` by a hook of autograd; what the gradient was computed with is not touched."""

    def changed(gradient: Tensor) -> Tensor:
        copy = gradient.clone()
        change(copy)
        return copy

    return parameter.register_hook(changed)


def sharding_of(tensor: Tensor) -> Sharding:
    """How a tensor lies."""
    for one in Sharding.members():
        if one.general:
            general = one
        elif one.holds(tensor):
            return one
    return general


def is_sharded(model: nn.Module) -> bool:
    """Whether some parameter lies in another way than whole."""
    return any(not sharding_of(parameter).keeps_whole for parameter in model.parameters())


def check_supported(model: nn.Module, what: str) -> None:
    """Refuse models whose parameters are not there to be read one by one.

    Args:
        model: with or without wrappers.
        what: is to be done: "pruning", "weight averaging".

    Raises:
        CompressionError: with the way out.
    """
    for one in Sharding.members():
        reason = one.refusal(model)
        if reason is not None:
            raise CompressionError(f"{what} {reason}")


def local(tensor: Tensor) -> Tensor:
    """This process's part of a tensor, sharing its memory, without gradient."""
    with torch.no_grad():
        return sharding_of(tensor).local(tensor)


def whole(part: Tensor, like: Tensor) -> Tensor:
    """The full tensor of which every process has a part; see `Sharding.whole`. Every process must call it."""
    return sharding_of(like).whole(part, like).detach()


def shard(full: Tensor, like: Tensor) -> Tensor:
    """This process's part of a full tensor, sharded as `like` is; nothing is communicated."""
    with torch.no_grad():
        return sharding_of(like).shard(full, like)


def full_shape(tensor: Tensor) -> torch.Size:
    """The shape of the whole tensor."""
    return sharding_of(tensor).shape(tensor)


def compute_device(tensor: Tensor) -> torch.device:
    """Where a forward pass computes with a tensor."""
    return sharding_of(tensor).device(tensor)


def original_class(module: nn.Module) -> type[Any]:
    """The class that a module was of before it was sharded."""
    cls: type[nn.Module] = type(module)
    for one in Sharding.members():
        cls = one.original_class(cls)
    return cls


@contextmanager
def loading_whole() -> Iterator[None]:
    """Inside, a model that is loaded is whole in the process that loads it, whatever this run does to models."""
    with ExitStack() as stack:
        for one in Sharding.members():
            stack.enter_context(one.loading_whole())
        yield


def reshard(model: nn.Module) -> None:
    """Give back what a forward pass has gathered, so that the model shows its parts."""
    for one in Sharding.members():
        one.reshard(model)
