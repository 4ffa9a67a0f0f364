"""What ensembles share that choose one class for a whole row: a text, an image, a recording."""

from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers.modeling_outputs import SequenceClassifierOutput

from hf_compress._errors import CompressionError
from hf_compress.ensembling.modelling.answering import AnsweringEnsemble
from hf_compress.ensembling.modelling.checks import problem_of
from hf_compress.ensembling.modelling.config import EnsembleConfig
from hf_compress.ensembling.modelling.heads import LOSSES

WHOLE_ROWS = tuple(head for head, loss in LOSSES.items() if loss in ("ForSequenceClassification", "ForImageClassification"))
"""Heads that answer once for each row."""


class ClassifierConfig(EnsembleConfig):
    """Of an ensemble that chooses one class for a row.

    Attributes:
        unused: fields of `EnsembleConfig` that a kind makes nothing of; they are refused.
    """

    model_type = "classifier_ensemble"
    unused: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        if self.members is None:
            return
        kind = self.model_type.replace("_ensemble", "")
        if self.auto_class not in WHOLE_ROWS:
            raise CompressionError(
                f"{kind}: members are loaded by {self.auto_class}, and it is for those that choose a class for a text,"
                " image or recording as a whole; a ParallelEnsemble takes others"
            )
        if problem_of(self) != "one label of several":
            raise CompressionError(
                f"{kind}: members are for {problem_of(self)}, and it is for one label of several; a ParallelEnsemble takes"
                " them"
            )
        for field in self.unused:
            if getattr(self, field) != UNSET[field]:
                raise CompressionError(f"{kind}: {field}={getattr(self, field)!r} has no meaning for it; leave it out")


UNSET = {"weights": None, "combiner": {"name": "mean_probabilities"}, "on_nan": "refuse"}
"""What a config says where nothing was given."""


class ClassifierEnsemble(AnsweringEnsemble):
    """Chooses one class for a row; the logits of its output are log-probabilities (B, C) in the first member's order."""

    config_class = ClassifierConfig

    def __init__(self, config: ClassifierConfig, members: Any = None) -> None:
        super().__init__(config, members)
        self.loss_type: Any = "ForSequenceClassification"
        config.problem_type = "single_label_classification"  # or the loss would guess it from the type of labels

    def respond(self, inputs: dict[str, Any], labels: Tensor | None) -> SequenceClassifierOutput:
        """The kind's answer, and the loss where there are labels (B,)."""
        output = self.answered(inputs)
        if labels is not None:
            logits: Any = output.logits
            output.loss = self.loss_function(labels=labels.to(logits.device), pooled_logits=logits, config=self.config)
        return output

    def answered(self, inputs: dict[str, Any]) -> SequenceClassifierOutput:
        """The kind's own: answers to the inputs, without a loss.

        Args:
            inputs: by the ensemble's names, None where one was not given, with the options of the kind.
        """
        raise TypeError(f"{type(self).__name__} does not say how rows are answered")

    def asked(self, inputs: dict[str, Any]) -> Tensor:
        """What all members say, (M, B, C), as `said` reads it."""
        outputs = self.ask(self.member_inputs(inputs))
        return torch.stack([self.said(output.logits, k) for k, output in enumerate(outputs)])

    def said(self, logits: Tensor, member: int) -> Tensor:
        """A member's logits as the ensemble reads them: its labels in order, divided by its temperature, in fp32.

        Raises:
            CompressionError: one is NaN, and the config says on_nan: refuse.
        """
        rows = self.ordered(logits, member).float()
        if self.config.temperatures is not None:
            rows = rows / self.config.temperatures[member]
        if torch.compiler.is_exporting():  # a graph raises no errors, so NaN shows in its answer
            return rows
        if self.config.on_nan == "refuse" and bool(torch.isnan(rows).any()):
            raise CompressionError(
                f"member {self.config.names[member]!r} answers NaN; mend it or take it out of the ensemble"
            )
        return rows


def num_rows(member: Any, name: str, inputs: dict[str, Any]) -> int:
    """Rows of what a member reads.

    Raises:
        CompressionError: nothing that it reads has rows.
    """
    tensors = [value for value in inputs.values() if isinstance(value, Tensor) and value.dim()]
    if not tensors:
        raise CompressionError(f"member {name!r} got no tensor to read, but {', '.join(inputs)}")
    main = inputs.get(member.main_input_name)
    return len(main if isinstance(main, Tensor) and main.dim() else tensors[0])
