"""Whether a teacher's answer comes from its own weights, seen by watching one."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from hf_compress._errors import CompressionError
from hf_compress.distillation.teacher import LoadedTeacher


class _Watch(TorchDispatchMode):
    """Notes which of some tensors' memory an operation reads or writes."""

    def __init__(self, names: dict[int, str]) -> None:
        super().__init__()
        self.names = names
        self.touched: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for leaf in tree_leaves((args, kwargs or {})):
            if isinstance(leaf, Tensor) and not self.touched and leaf.layout is torch.strided:
                name = self.names.get(leaf.untyped_storage().data_ptr())
                if name is not None:
                    self.touched.append(name)
        return func(*args, **(kwargs or {}))


@torch.no_grad()
def check_independence(teacher: LoadedTeacher, student: nn.Module, inputs: Mapping[str, Any]) -> None:
    """Refuse a teacher whose answer to `inputs` uses the student's weights.

    Args:
        teacher: ready to answer.
        student: whose parameters must not take part.
        inputs: a batch without labels.

    Raises:
        CompressionError: naming the first weight of the student that the teacher used.
    """
    names = {one.untyped_storage().data_ptr(): name for name, one in student.named_parameters() if one.numel()}
    with _Watch(names) as watch:
        teacher.signal(inputs)
    if watch.touched:
        raise CompressionError(
            f"the teacher's answer uses the student's own {watch.touched[0]}, so it would change with every step; pass a"
            " teacher that shares nothing with the student"
        )
