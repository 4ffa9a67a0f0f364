"""What a statistic observes of a layer of 6 inputs and 4 outputs, and the statistic of it."""

import torch

from hf_compress.calibration.statistic import Statistic


def seen(cls, dtype=torch.float32, seed=0):
    """Rows in parts of several sizes, or gradients with weights that sum to the number of examples, 3."""
    generator = torch.Generator().manual_seed(seed)
    if not cls.needs_gradient:
        return [torch.randn(size, 6, generator=generator).to(dtype) for size in (5, 1, 3, 8)]
    return [(torch.randn(4, 6, generator=generator).to(dtype), weight) for weight in (0.25, 1.0, 0.75, 1.0)]


def finished(statistic, observed, cut=None):
    """The value of everything observed; with `cut` of two parts that were added up."""
    gradient = statistic.needs_gradient
    totals = []
    for part in (observed,) if cut is None else (observed[:cut], observed[cut:]):
        total = None
        for one in part:
            total = statistic.observe(*one, total) if gradient else statistic.observe(one, total)
        totals.append(total)
    total = totals[0] if cut is None else statistic.add(*totals)
    return statistic.finish(total, sum(one[1] if gradient else len(one) for one in observed))


def statistic_like(name, shape, generator):
    """Numbers that the statistic `name` could be of a weight of a shape (O, ..., I): positive, matrices definite."""
    kind = Statistic.available()[name].shape
    if kind == "(O, I)":
        return torch.rand(shape, generator=generator) + 0.5
    if kind == "(I,)":
        return torch.rand(shape[-1], generator=generator) + 0.5
    rows = torch.randn(5 * shape[-1], shape[-1], generator=generator)
    return rows.T @ rows / len(rows)
