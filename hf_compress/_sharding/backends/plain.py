"""Every process holds whole tensors: one process, or DDP."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from hf_compress._sharding.contract import Sharding


@dataclass(frozen=True, kw_only=True)
class Plain(Sharding, name="plain"):
    """The part is the tensor."""

    general: ClassVar[bool] = True
    keeps_whole: ClassVar[bool] = True

    def holds(self, tensor: Tensor) -> bool:
        """What nobody else does."""
        return True

    def local(self, tensor: Tensor) -> Tensor:
        """The tensor."""
        return tensor.detach()

    def whole(self, part: Tensor, like: Tensor) -> Tensor:
        """The part."""
        return part

    def shard(self, full: Tensor, like: Tensor) -> Tensor:
        """The full tensor."""
        return full
