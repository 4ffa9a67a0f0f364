"""Accuracy and F1 of a classifier."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy
import torch
from torch import Tensor, nn

from hf_compress._errors import CompressionError
from hf_compress._progress import progress
from hf_compress.inputs.batches import model_inputs
from hf_compress.tasks.task_loss import IGNORED


def classification_metrics(predictions: numpy.ndarray, labels: numpy.ndarray) -> dict[str, float]:
    """Accuracy and macro-averaged F1 by scikit-learn.

    Args:
        predictions: (B,) class ids.
        labels: (B,) class ids.
    """
    from sklearn.metrics import accuracy_score, f1_score

    return {
        "accuracy": float(accuracy_score(labels, predictions)),
        "macro_f1": float(f1_score(labels, predictions, average="macro")),
    }


def trainer_metrics(prediction: Any) -> dict[str, float]:
    """The same for `Trainer(compute_metrics=...)`: an EvalPrediction with logits (B, V) and labels (B,), -100 left out."""
    logits = prediction.predictions[0] if isinstance(prediction.predictions, tuple) else prediction.predictions
    counted = prediction.label_ids != IGNORED
    return classification_metrics(logits.argmax(-1)[counted], prediction.label_ids[counted])


@torch.no_grad()
def classify(model: nn.Module, batches: Iterable[Mapping[str, Tensor]], description: str = "accuracy") -> dict[str, float]:
    """Metrics of a classifier over a split.

    Args:
        model: returns `.logits` (B, V); put into eval mode.
        batches: model inputs and labels (B,), -100 = not counted.
        description: the progress bar's label.

    Returns:
        accuracy, macro_f1, nll in nats per example, num_examples.

    Raises:
        CompressionError: there is no example with a label.
    """
    model.eval()
    predictions, labels, nll = [], [], 0.0
    for batch in progress(batches, description, leave=False):
        logits = model(**model_inputs(batch, model)).logits.float().cpu()
        nll += torch.nn.functional.cross_entropy(logits, batch["labels"], reduction="sum").item()
        counted = batch["labels"] != IGNORED
        predictions.append(logits.argmax(-1)[counted])
        labels.append(batch["labels"][counted])
    if not any(map(len, labels)):
        raise CompressionError("the evaluation split has no example with a label")
    truth = torch.cat(labels).numpy()
    metrics = classification_metrics(torch.cat(predictions).numpy(), truth)
    return {**metrics, "nll": nll / len(truth), "num_examples": len(truth)}
