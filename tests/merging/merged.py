"""Operands for tests of merge methods, and a merge as the engine does it."""

import dataclasses

import torch

from hf_compress.merging.operands import Operands

LABELS = ("ada", "bob", "cyd", "dan")


def operands_of(tensors, base=None, seed=0, name="layer.weight", **values):
    """One tensor per member; per-member parameters as sequences."""
    return Operands(
        name=name,
        members=LABELS[: len(tensors)],
        tensors=tuple(tensors),
        base=base,
        values={key: tuple(value) for key, value in values.items()},
        seed=seed,
    )


def models(shape, num_members=3, dtype=torch.float32, seed=0):
    """A base and members that differ from it a little: (members, base)."""
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(shape, generator=generator)
    members = [(base + 0.1 * torch.randn(shape, generator=generator)).to(dtype) for _ in range(num_members)]
    return members, base.to(dtype)


def merged(method, operands, reverse=False):
    """Survey, then every chunk (or the whole tensor), in the tensor's shape."""
    survey = method.survey(operands)
    if method.whole:
        return method.merge(dataclasses.replace(operands, num_elements=0), survey)
    chunks = list(operands.chunks())
    parts = {chunk.offset: method.merge(chunk, survey) for chunk in (reversed(chunks) if reverse else chunks)}
    return torch.cat([parts[chunk.offset] for chunk in chunks]).reshape(operands.tensors[0].shape)
