"""Whether more of what an evaluation gives is better."""

from collections.abc import Sequence

from hf_compress._errors import CompressionError
from hf_compress.tasks.metrics.metric import Metric

_LOSSES = ("loss", "nll", "mse", "perplexity")
"""What tasks measure beside metrics, and of which less is better."""

_OF_DOCUMENTS = ("window_perplexity", "bits_per_byte")
"""What an evaluation of a finished model measures of running text, and of which less is better."""


def same_as_loss(key: str) -> bool:
    """Whether it orders models as the loss does: the loss itself, and what is made of it."""
    return key.removeprefix("eval_") in _LOSSES


def direction_of(key: str, metrics: Sequence[Metric] = ()) -> bool | None:
    """True where more is better, False where less is; None where no metric gives it.

    Args:
        key: of an evaluation's result.
        metrics: that were asked for; the built-in ones are known.
    """
    if same_as_loss(key) or key in _OF_DOCUMENTS:
        return False
    return next((metric.greater_is_better for metric in (*metrics, *_built_in()) if key in metric.gives), None)


def _built_in() -> list[Metric]:
    """Those that need no options, where what they wrap is installed."""
    made = []
    for cls in Metric.available().values():
        try:
            made.append(cls())
        except (CompressionError, TypeError):
            continue
    return made
