"""A small network above the members that says, row by row, whom to listen to."""

from collections.abc import Sequence
from typing import Any, ClassVar, Self

from transformers.modeling_outputs import SequenceClassifierOutput

from hf_compress._errors import CompressionError
from hf_compress.ensembling.modelling.classifier import WHOLE_ROWS, ClassifierConfig
from hf_compress.ensembling.modelling.gate import Gate
from hf_compress.ensembling.modelling.own_weights import LearnedEnsemble


class GatingConfig(ClassifierConfig):
    """Of a `Gating`.

    Attributes:
        hidden: width of the gate's hidden layer; None = none.
    """

    model_type = "gating_ensemble"
    unused: ClassVar[tuple[str, ...]] = ("weights", "on_nan")
    hidden: int | None = None


class Gating(LearnedEnsemble):
    """p = combiner(members, gate(members)): a `Gate` gives each row weights of its own, from what the members say of it.

    `fit_gate` learns it on validation data, for one combiner.

    Source: Jacobs, Jordan, Nowlan, Hinton (1991), Adaptive Mixtures of Local Experts,
    https://doi.org/10.1162/neco.1991.3.1.79.
    """

    config_class = GatingConfig
    config: GatingConfig
    for_heads = WHOLE_ROWS

    def add_own_parts(self) -> None:
        """A new one gives equal weights."""
        self.gate = Gate(len(self.config.members or ()), int(self.config.num_labels or 0), self.config.hidden)

    @classmethod
    def from_members(cls, members: Sequence[Any], *, gate: Gate, **options: Any) -> Self:  # type: ignore[override]
        """An ensemble of trained models and a gate above them.

        Args:
            members: as `ParallelEnsemble.from_members` takes them, with its options.
            gate: for members in this order and classes in the first member's; it is copied.
            **options: of `ParallelEnsemble.from_members`; `combiner` as the gate was learned for.

        Raises:
            CompressionError: the gate is for other members or classes, or members do not go together.
        """
        hidden = None if gate.inner is None else gate.inner.out_features
        made = super().from_members(members, hidden=hidden, **options)
        state = gate.state_dict()
        for name, own in made.gate.state_dict().items():
            if own.shape != state[name].shape:
                raise CompressionError(
                    f"the gate's {name} has the shape {tuple(state[name].shape)}; for {len(made.members)} members and"
                    f" {made.config.num_labels} classes it is {tuple(own.shape)}"
                )
        made.gate.load_state_dict(state)
        return made

    def answered(self, inputs: dict[str, Any]) -> SequenceClassifierOutput:
        """Members combined with the weights that the gate gives each row, (M, B)."""
        rows = self.asked(inputs)
        logits: Any = self.combiner().combine(rows, self.gate(rows).to(rows))
        return SequenceClassifierOutput(logits=logits)
