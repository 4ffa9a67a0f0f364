"""What tasks share whose models predict the next token."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from hf_compress._errors import CompressionError
from hf_compress._problems import check_all
from hf_compress.tasks.heads import CAUSAL_LM, Head
from hf_compress.tasks.metrics.metric import Metric
from hf_compress.tasks.shown import Shown, continuations
from hf_compress.tasks.text import TokenTask

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PretrainedConfig


@dataclass(frozen=True, kw_only=True)
class NextToken(TokenTask):
    """A task that is measured by the likelihood of tokens, each given those before it; stands before what reads the input.

    Attributes:
        length: tokens per example at most.
    """

    head: ClassVar[Head] = CAUSAL_LM
    metric: ClassVar[str] = "perplexity"
    greater_is_better: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.length < 2:
            raise CompressionError(
                f"length={self.length} is too short: the first token of a block predicts the second; write 2 or more"
            )

    def check_config(self, config: "PretrainedConfig", processor: Any) -> None:
        """Refuse encoders, too."""
        check_all(lambda: _refuse_encoder(config), lambda: super(NextToken, self).check_config(config, processor))

    def chance(self, rows: "Dataset", config: "PretrainedConfig | None") -> float | None:
        """The perplexity of taking every token to be as likely as any other: how many there are."""
        return None if config is None else float(config.get_text_config().vocab_size)

    def evaluate(
        self,
        model: Any,
        examples: "Dataset",
        rows: "Dataset",
        processor: Any,
        batch_size: int,
        description: str,
        metrics: Sequence[Metric] = (),
    ) -> dict[str, float]:
        """Perplexity and nll."""
        from hf_compress.tasks.metrics.perplexity import perplexity

        batches = self.batches(examples, processor, batch_size)
        return perplexity(model, batches, description, metrics=metrics)

    def written(self, model: Any, examples: "Dataset", processor: Any, count: int) -> list[Shown] | None:
        """By greedy decoding."""
        return continuations(model, examples, processor, count)


def _refuse_encoder(config: "PretrainedConfig") -> None:
    from transformers import MODEL_FOR_MASKED_LM_MAPPING

    if getattr(config, "is_decoder", None) is False and type(config) in MODEL_FOR_MASKED_LM_MAPPING:
        raise CompressionError(
            f"model: {config.model_type} is an encoder that sees the tokens it should predict; name a causal model, or"
            " set is_decoder: true in its config"
        )
