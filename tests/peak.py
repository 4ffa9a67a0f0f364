"""How many bytes of tensors there are at once, counted tensor by tensor: the same number every time, on every machine."""

import weakref

import torch
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Peak(TorchDispatchMode):
    """Counts storages from their first appearance to their end.

    Attributes:
        bytes: now.
        peak: the most so far.
        sent: what this process gave to others, by the usual rings: (N - 1) / N of a whole tensor for gathering it or for
            adding it up and spreading it, twice that for adding it up everywhere. 0 where there is one process.
    """

    def __init__(self, *present):
        super().__init__()
        self.bytes = self.peak = self.sent = 0
        self._storages = weakref.WeakKeyDictionary()
        for model in present:
            for tensor in model.parameters():
                self._add(tensor)
        self._measure()

    def _add(self, tensor):
        tensor = tensor._local_tensor if isinstance(tensor, DTensor) else tensor
        if tensor.device.type != "meta":
            self._storages.setdefault(tensor.untyped_storage(), None)

    def _measure(self):
        # Anew each time, because FSDP2 empties storages that it uses again.
        self.bytes = sum(storage.nbytes() for storage in list(self._storages))
        self.peak = max(self.peak, self.bytes)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace == "c10d":
            self.sent += _sent(func.name(), args)
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self._add(leaf)
        self._measure()
        return result


_TIMES = {"allreduce": 2, "allgather": 1, "reduce_scatter": 1}
"""Operation -> how often (N - 1) / N of the whole tensor passes through a process; others are not counted."""


def _sent(name, args):
    processes = torch.distributed.get_world_size()
    for operation, times in _TIMES.items():
        if operation in name:
            # The largest tensor that is handed over is the whole one, or a list of the parts of it.
            whole = max(sum(leaf.nbytes for leaf in tree_leaves(one) if isinstance(leaf, torch.Tensor)) for one in args)
            return times * whole * (processes - 1) // processes
    return 0
