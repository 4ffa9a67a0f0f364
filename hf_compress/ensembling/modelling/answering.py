"""What ensembles take that answer an input in one go: text, images or sound, whatever their members read."""

from typing import Any

from torch import Tensor
from transformers.utils.generic import ModelOutput, can_return_tuple

from hf_compress.ensembling.modelling.ensemble import Ensemble


class AnsweringEnsemble(Ensemble):
    """Hands what it is given to its kind by name."""

    @can_return_tuple  # type: ignore[untyped-decorator]
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        input_values: Tensor | None = None,
        input_features: Tensor | None = None,
        labels: Tensor | None = None,
        **others: Any,
    ) -> ModelOutput:
        """The answer, and the loss where labels are given.

        Args:
            input_ids: of text, as members read it; members get those of the inputs that they know.
            attention_mask: of text or sound.
            token_type_ids: of text.
            pixel_values: of images.
            input_values: of sound, as samples.
            input_features: of sound, as spectrograms.
            labels: by the ensemble's ids.
            **others: inputs of further processors, e.g. `input_ids_1`, and options of the kind.

        Raises:
            CompressionError: a member got no inputs or other rows, or answers NaN where that is refused.
        """
        inputs = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "token_type_ids": token_type_ids,
            "pixel_values": pixel_values,
            "input_values": input_values,
            "input_features": input_features,
            **others,
        }
        return self.respond(inputs, labels)

    def respond(self, inputs: dict[str, Any], labels: Tensor | None) -> ModelOutput:
        """The kind's own: the answer to the inputs, with a loss where there are labels.

        Args:
            inputs: by the ensemble's names, None where one was not given, with the options of the kind.
            labels: by the ensemble's ids.
        """
        raise TypeError(f"{type(self).__name__} does not say how inputs are answered")
