"""A criterion that reads a statistic; not registered, so that no test of the built-in ones meets it."""

from dataclasses import dataclass

from hf_compress.pruning.criterion import Criterion


@dataclass(frozen=True, kw_only=True)
class Needy(Criterion):
    """score = |w| * the norm of its input."""

    name = "needy"
    needs = ("input_norm",)

    def score(self, weight, stats):
        return weight.detach().float().abs() * stats["input_norm"]
