"""What a classifier predicts, and its metrics over a split."""

from collections.abc import Iterable, Mapping, Sequence

import numpy
import torch
from torch import Tensor, nn

from hf_compress._errors import CompressionError
from hf_compress._progress import progress
from hf_compress.inputs.batches import model_inputs
from hf_compress.tasks.metrics.builtin.accuracy import Accuracy
from hf_compress.tasks.metrics.builtin.f1 import MacroF1
from hf_compress.tasks.metrics.counted import Counted
from hf_compress.tasks.metrics.metric import Metric
from hf_compress.tasks.task_loss import IGNORED

OWN_METRICS: tuple[Metric, ...] = (Accuracy(), MacroF1())
"""What every classifier is measured by."""


def decode_classes(logits: numpy.ndarray, labels: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
    """The likeliest class of every row with a label.

    Args:
        logits: (B, V).
        labels: (B,) class ids, -100 = not counted.

    Returns:
        Predicted and right class ids.
    """
    counted = labels != IGNORED
    return logits.argmax(-1)[counted], labels[counted]


@torch.no_grad()
def classify(
    model: nn.Module,
    batches: Iterable[Mapping[str, Tensor]],
    description: str = "accuracy",
    metrics: Sequence[Metric] = OWN_METRICS,
) -> dict[str, float]:
    """Metrics of a classifier over a split.

    Args:
        model: returns `.logits` (B, V); put into eval mode.
        batches: model inputs and labels (B,), -100 = not counted.
        description: the progress bar's label.
        metrics: of classes.

    Returns:
        The metrics, nll in nats per example, num_examples.

    Raises:
        CompressionError: there is no example with a label.
    """
    model.eval()
    counted, nll = Counted(metrics, decode_classes), 0.0
    for batch in progress(batches, description, leave=False):
        logits = model(**model_inputs(batch, model)).logits.float().cpu()
        nll += torch.nn.functional.cross_entropy(logits, batch["labels"], reduction="sum").item()
        counted.add(logits, batch["labels"])
    num_examples = len(counted.references)
    if num_examples == 0:
        raise CompressionError("the evaluation split has no example with a label")
    return {**counted.result(), "nll": nll / num_examples, "num_examples": num_examples}
