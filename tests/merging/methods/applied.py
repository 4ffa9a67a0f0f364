"""Runs a merge method the way the engine does: survey the whole tensor, merge chunk by chunk."""

import torch

from hf_compress.merging.operands import Operands


def operands(*tensors, base=None, weights=None, **values):
    tensors = tuple(torch.as_tensor(tensor) for tensor in tensors)
    if weights is not None:
        values["weight"] = tuple(weights)
    base = None if base is None else torch.as_tensor(base)
    members = tuple(f"m{number}" for number in range(len(tensors)))
    return Operands(name="layer.weight", members=members, tensors=tensors, base=base, values=values)


def merged(method, *tensors, base=None, weights=None, **values):
    whole = operands(*tensors, base=base, weights=weights, **values)
    method.check_weights(whole.weights, whole.name)
    survey = method.survey(whole)
    parts = [method.merge(part, survey) for part in whole.chunks()]
    assert all(part.dtype is torch.float32 for part in parts)
    return torch.cat(parts).view(whole.tensors[0].shape)


def random(*shape, seed=0, scale=1.0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).mul(scale).to(dtype)
