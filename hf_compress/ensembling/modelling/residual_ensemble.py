"""A sum of models, each of which was trained on what those before it leave over (boosting)."""

import math
from typing import Any

import torch
from torch import Tensor
from transformers.modeling_outputs import SequenceClassifierOutput

from hf_compress._errors import CompressionError
from hf_compress.ensembling.modelling.checks import problem_of
from hf_compress.ensembling.modelling.classifier import UNSET, WHOLE_ROWS, ClassifierEnsemble
from hf_compress.ensembling.modelling.config import EnsembleConfig


class ResidualConfig(EnsembleConfig):
    """Of a `ResidualEnsemble`.

    Attributes:
        step_sizes: what each member's answer is multiplied by, finite numbers; None: all 1.
    """

    model_type = "residual_ensemble"
    step_sizes: list[float] | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        if self.members is None:
            return
        if self.auto_class not in WHOLE_ROWS or problem_of(self) == "several labels at once":
            what = self.auto_class if self.auto_class not in WHOLE_ROWS else "several labels at once"
            raise CompressionError(
                f"residual: members are for {what}, and it is for one label or number of a text, image or recording as a"
                " whole; a ParallelEnsemble takes others"
            )
        for field, nothing in UNSET.items():
            if getattr(self, field) != nothing:
                raise CompressionError(
                    f"residual: {field}={getattr(self, field)!r} has no meaning for a sum of members; leave it out"
                )
        self.step_sizes = [1.0] * len(self.members) if self.step_sizes is None else [float(one) for one in self.step_sizes]
        if len(self.step_sizes) != len(self.members):
            raise CompressionError(
                f"step_sizes has {len(self.step_sizes)} entries for {len(self.members)} members; give one each"
            )
        for name, size in zip(self.names, self.step_sizes, strict=True):
            if not math.isfinite(size):
                raise CompressionError(f"the step size of member {name!r} is {size}; it must be a finite number")


class ResidualEnsemble(ClassifierEnsemble):
    """logits = sum_k eta_k f_k(x), (B, C), in the first member's order of labels; of regression the sum of numbers.

    f_k are the members' logits and eta_k their step sizes; the sum is fp32. Logits, not log-probabilities: a softmax of
    them is the distribution.

    Source: Friedman (2001), Greedy Function Approximation: A Gradient Boosting Machine,
    https://doi.org/10.1214/aos/1013203451, equation 2; of networks Badirli et al. (2020), https://arxiv.org/abs/2002.07971.
    """

    config_class = ResidualConfig  # type: ignore[assignment]  # of numbers too, which a ClassifierConfig refuses
    for_heads = WHOLE_ROWS

    def __init__(self, config: ResidualConfig, members: Any = None) -> None:
        numbers = config.members is not None and problem_of(config) == "numbers (regression)"
        super().__init__(config, members)  # type: ignore[arg-type]
        if numbers:
            config.problem_type = "regression"

    def answered(self, inputs: dict[str, Any]) -> SequenceClassifierOutput:
        """The sum."""
        return SequenceClassifierOutput(logits=self.summed(self.asked(inputs)))  # type: ignore[arg-type]

    def summed(self, answers: Tensor) -> Tensor:
        """(M, B, C) -> (B, C)."""
        sizes = torch.tensor(self.config.step_sizes, dtype=answers.dtype, device=answers.device)
        return (answers * sizes.view(-1, 1, 1)).sum(0)
