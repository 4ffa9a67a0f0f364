"""How many bytes of tensors there are at once, counted tensor by tensor: the same number every time, on every machine."""

import weakref

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Peak(TorchDispatchMode):
    """Counts storages from their first appearance to their end.

    Attributes:
        bytes: now.
        peak: the most so far.
    """

    def __init__(self, *present):
        super().__init__()
        self.bytes = self.peak = 0
        self._seen = set()
        for model in present:
            for tensor in model.parameters():
                self._count(tensor)

    def _count(self, tensor):
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._seen:
            return
        self._seen.add(key)
        self.bytes += size
        self.peak = max(self.peak, self.bytes)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key, size):
        self._seen.discard(key)
        self.bytes -= size

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self._count(leaf)
        return result
