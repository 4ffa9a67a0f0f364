"""A linear classifier above the members, which has learned what each of them confuses."""

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import torch
from torch import nn
from transformers.modeling_outputs import SequenceClassifierOutput

from hf_compress._errors import CompressionError
from hf_compress.ensembling.modelling.classifier import WHOLE_ROWS, ClassifierConfig
from hf_compress.ensembling.modelling.features import member_features
from hf_compress.ensembling.modelling.own_weights import LearnedEnsemble


class StackingConfig(ClassifierConfig):
    """Of a `Stacking`; members are told apart by W, so there are no weights and no combiner."""

    model_type = "stacking_ensemble"
    unused: ClassVar[tuple[str, ...]] = ("weights", "combiner", "on_nan")


class Stacking(LearnedEnsemble):
    """log p = log softmax(W x + b), x the members' log-probabilities one after the other, (B, M * C), none below -30.

    `fit_stacking` learns W (C, M * C) and b (C,) on validation data. Arithmetic is fp32.

    Source: Wolpert (1992), Stacked Generalization, https://doi.org/10.1016/S0893-6080(05)80023-1.
    """

    config_class = StackingConfig
    for_heads = WHOLE_ROWS

    def add_own_parts(self) -> None:
        """A new one says the mean of the members' log-probabilities, which is `mean_logits`."""
        members, classes = len(self.config.members or ()), int(self.config.num_labels or 0)
        self.meta_learner = nn.Linear(members * classes, classes)
        with torch.no_grad():
            self.meta_learner.weight.copy_(torch.eye(classes).repeat(1, members) / members)
            self.meta_learner.bias.zero_()

    @classmethod
    def from_members(cls, members: Sequence[Any], *, weight: Any, bias: Any, **options: Any) -> Self:  # type: ignore[override]
        """An ensemble of trained models and what was learned above them.

        Args:
            members: as `ParallelEnsemble.from_members` takes them, with its options.
            weight: W, (C, M * C), for members in this order and classes in the first member's.
            bias: b, (C,).
            **options: of `ParallelEnsemble.from_members`.

        Raises:
            CompressionError: the shapes are others, a number is not finite, or members do not go together.
        """
        made = super().from_members(members, **options)
        for name, given in (("weight", weight), ("bias", bias)):
            own, tensor = getattr(made.meta_learner, name), torch.as_tensor(given)
            if tensor.shape != own.shape:
                raise CompressionError(
                    f"{name} has the shape {tuple(tensor.shape)}; for {len(made.members)} members and"
                    f" {made.config.num_labels} classes it is {tuple(own.shape)}"
                )
            if not tensor.isfinite().all():
                raise CompressionError(f"{name} has a number that is NaN or infinite; fit it again")
            own.data.copy_(tensor)
        return made

    def answered(self, inputs: dict[str, Any]) -> SequenceClassifierOutput:
        """What the classifier makes of all members' answers."""
        x = member_features(self.asked(inputs))
        logits: Any = torch.log_softmax(
            nn.functional.linear(x, self.meta_learner.weight.to(x), self.meta_learner.bias.to(x)), -1
        )
        return SequenceClassifierOutput(logits=logits)
