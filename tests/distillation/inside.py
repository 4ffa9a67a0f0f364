"""Losses on what happens inside the models; not registered, so that no test of the built-in ones meets them."""

from dataclasses import dataclass

import torch
from torch import nn

from hf_compress import CompressionError
from hf_compress.distillation.loss import FeatureLoss


@dataclass(frozen=True, kw_only=True)
class States(FeatureLoss):
    """mean_features (W student - teacher)^2 at one layer; W only where the widths differ."""

    name = "states"

    layer: int = 1

    def build(self, student, teacher):
        for who, config in (("student", student), ("teacher", teacher)):
            if self.layer > config.num_hidden_layers:
                raise CompressionError(f"layer={self.layer} is past the {config.num_hidden_layers} layers of the {who}")
        if student.hidden_size == teacher.hidden_size:
            return None
        return nn.Linear(student.hidden_size, teacher.hidden_size)

    def __call__(self, student, teacher, keep, projection):
        own = student.hidden_states[self.layer]
        own = own if projection is None else projection(own)
        return (own - teacher.hidden_states[self.layer]).square().mean(-1)


@dataclass(frozen=True, kw_only=True)
class Maps(FeatureLoss):
    """KL(teacher || student) of the last layer's attention, mean over the heads."""

    name = "maps"
    needs = ("attentions",)

    def __call__(self, student, teacher, keep, projection):
        log_q, log_p = (maps.attentions[-1].clamp(min=1e-9).log() for maps in (student, teacher))
        return (log_p.exp() * (log_p - log_q)).sum(-1).mean(1)


@dataclass(frozen=True, kw_only=True)
class WholeLogits(FeatureLoss):
    """Squared differences of whole logits."""

    name = "whole_logits"
    needs = ("logits",)

    def __call__(self, student, teacher, keep, projection):
        values = (student.logits - teacher.logits).square().mean(-1)
        return values.reshape(keep.shape)


def same(tensor):
    """A generator-free copy with gradients of its own."""
    return tensor.detach().clone().requires_grad_()


def random(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)
