"""Models that find answers in a text, in parallel: where an answer begins and where it ends are a distribution each."""

from typing import Any

from torch import Tensor
from transformers.modeling_outputs import QuestionAnsweringModelOutput
from transformers.utils.generic import can_return_tuple

from hf_compress.ensembling.modelling.parallel import ParallelEnsemble


class ParallelEnsembleForQuestionAnswering(ParallelEnsemble):
    """Members with one tokenizer; beginnings are combined as positions, and so are ends."""

    for_heads = ("AutoModelForQuestionAnswering",)

    @can_return_tuple  # type: ignore[untyped-decorator]
    def forward(  # type: ignore[override]
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        start_positions: Tensor | None = None,
        end_positions: Tensor | None = None,
        **others: Any,
    ) -> QuestionAnsweringModelOutput:
        """Combined log-probabilities (B, T) of where answers begin and end, and the loss where both are given.

        Args:
            input_ids: (B, T) question and text.
            attention_mask: (B, T), 0 where a row is padding.
            token_type_ids: (B, T).
            start_positions: (B,) where answers begin.
            end_positions: (B,) where they end.
            **others: what else members read.

        Raises:
            CompressionError: a member got no inputs, or answers NaN and is not to be left out.
        """
        read = {"input_ids": input_ids, "attention_mask": attention_mask, "token_type_ids": token_type_ids, **others}
        outputs = self.ask(self.member_inputs(read))
        starts = self.fused([output.start_logits for output in outputs])
        ends = self.fused([output.end_logits for output in outputs])
        loss = None
        if start_positions is not None and end_positions is not None:
            loss = self.loss_function(starts, ends, start_positions.to(starts.device), end_positions.to(ends.device))
        return QuestionAnsweringModelOutput(loss=loss, start_logits=starts, end_logits=ends)  # type: ignore[arg-type]
