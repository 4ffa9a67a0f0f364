"""What a classifier predicts, and its metrics over a split."""

from collections.abc import Iterable, Mapping, Sequence

import numpy
import torch
from torch import Tensor, nn

from hf_compress._errors import CompressionError
from hf_compress._progress import progress
from hf_compress.distillation.signal import Kind
from hf_compress.inputs.batches import model_inputs
from hf_compress.tasks.metrics.builtin.accuracy import Accuracy
from hf_compress.tasks.metrics.builtin.f1 import MacroF1
from hf_compress.tasks.metrics.counted import Counted, Decode
from hf_compress.tasks.metrics.metric import Metric
from hf_compress.tasks.row_kind import IGNORED, row_kind

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
    decode: Decode = decode_classes,
    kind: Kind = "single_label",
) -> dict[str, float]:
    """Metrics of a classifier over a split.

    Args:
        model: returns `.logits` (B, V), or (B, T, V) for labels of tokens; put into eval mode.
        batches: model inputs and labels as the kind takes them, -100 = not counted.
        description: the progress bar's label.
        metrics: of what `decode` makes.
        decode: logits and labels -> predictions and references.
        kind: what a row of logits is.

    Returns:
        The metrics; nll in nats per row with a label, or mse for regression; num_examples, the number of predictions.

    Raises:
        CompressionError: there is no example with a label.
    """
    model.eval()
    counted, loss, num_rows, row = Counted(metrics, decode), 0.0, 0, row_kind(kind)()
    for batch in progress(batches, description, leave=False):
        logits = model(**model_inputs(batch, model)).logits.float().cpu()
        rows = row.rows(logits, {"labels": batch["labels"]}, {})
        assert rows.labels is not None, kind
        loss += row.loss_sum(rows.logits[rows.keep], rows.labels[rows.keep]).item()
        num_rows += int(rows.keep.sum())
        counted.add(logits, batch["labels"])
    if num_rows == 0:
        raise CompressionError("the evaluation split has no example with a label")
    name, num_examples = "mse" if kind == "regression" else "nll", len(counted.references)
    return {**counted.result(), name: loss / num_rows, "num_examples": num_examples}
