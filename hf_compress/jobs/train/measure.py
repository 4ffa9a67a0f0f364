"""Measuring reloaded checkpoints as a trainer evaluates: its collator, its metrics, its model class."""

import contextlib
import dataclasses
import logging
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel, Seq2SeqTrainer, Seq2SeqTrainingArguments, TrainingArguments

from hf_compress._errors import CompressionError
from hf_compress._registry import unknown
from hf_compress.checkpoints.export_format import ExportFormat
from hf_compress.evaluation.kept import Kept
from hf_compress.evaluation.measure import intervals_of, row_of
from hf_compress.evaluation.rows import Row
from hf_compress.tasks.answers import BestSpans
from hf_compress.tasks.metrics.counted import Counted
from hf_compress.tasks.metrics.directions import direction_of
from hf_compress.tasks.metrics.perplexity import Likelihood, perplexity
from hf_compress.tasks.plain_trainer import own_metrics, plain_trainer, unpack_before_generation
from hf_compress.tasks.task_loss import task_kind
from hf_compress.tasks.written import Written

logger = logging.getLogger(__name__)

_EVALUATION = (
    "per_device_eval_batch_size",
    "eval_accumulation_steps",
    "eval_do_concat_batches",
    "batch_eval_metrics",
    "include_for_metrics",
    "label_names",
    "remove_unused_columns",
    "dataloader_num_workers",
    "dataloader_pin_memory",
    "use_cpu",
    "disable_tqdm",
    "seed",
    "predict_with_generate",
    "generation_max_length",
    "generation_num_beams",
)
"""The arguments that an evaluation reads; those of training would write, log and push."""
_ROW_BY_ROW = (BestSpans, Counted, Written)
"""What this library computes metrics with in a Trainer: it knows the rows."""


class Measure:
    """Reloads folders with plain transformers and measures them as the trainer evaluates."""

    def __init__(
        self,
        trainer: Any,
        model: PreTrainedModel,
        examples: Any,
        metric: str | None = None,
        greater_is_better: bool | None = None,
    ) -> None:
        self.trainer, self.cls, self.examples = trainer, type(model), examples
        self.shifted = False
        with contextlib.suppress(CompressionError):  # a head without a known loss is measured by its own
            self.shifted = task_kind(model).name == "shifted_tokens"
        self.wanted = metric or trainer.args.metric_for_best_model
        self.metric = ""
        self._given, self.greater_is_better = greater_is_better, False

    def row(self, folder: Path, name: str, form: ExportFormat, **facts: Any) -> Row:
        """The row of one checkpoint, loaded as its format is."""
        model = form.load(self.cls, folder)
        logger.info("measuring %s", name)
        metrics, intervals = self._metrics(model)
        self._choose(metrics)
        return row_of(folder, name, form, metrics, intervals=intervals, **facts)

    def _metrics(self, model: PreTrainedModel) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
        """What is measured, and how sure what the library's own metrics and likelihoods say is."""
        trainer = self.trainer
        compared, tokens = Kept(), Kept()
        asked = trainer.compute_metrics
        row_by_row = type(asked) in _ROW_BY_ROW
        generates = isinstance(trainer, Seq2SeqTrainer)
        kind = Seq2SeqTrainingArguments if generates else TrainingArguments
        known = {field.name for field in dataclasses.fields(kind)}
        values = {
            name: getattr(trainer.args, name) for name in _EVALUATION if name in known and hasattr(trainer.args, name)
        }
        with plain_trainer(
            model,
            values,
            trainer.data_collator,
            generates=generates,
            compute_metrics=asked.beside(compared) if row_by_row else asked,
            processing_class=trainer.processing_class,
            preprocess_logits_for_metrics=trainer.preprocess_logits_for_metrics,
        ) as plain:
            unpack_before_generation(plain, self.examples)
            if not self.shifted:
                measured, exact = plain.evaluate(self.examples), {}
            elif asked is None:
                measured, exact = {}, self._perplexity(plain, tokens)
            else:
                likelihood = Likelihood()
                plain.preprocess_logits_for_metrics = _Listening(likelihood, trainer.preprocess_logits_for_metrics)
                measured = plain.evaluate(self.examples)
                # An evaluation that generates has made no logits of the labels.
                exact = likelihood.metrics() if likelihood.num_tokens else self._perplexity(plain, tokens)
                likelihood.tell([tokens] if likelihood.num_tokens else [])
        found = {**exact, **own_metrics(measured)}
        of_rows = intervals_of(compared, found, asked.metrics) if row_by_row else {}
        return found, {**intervals_of(tokens, found, None), **of_rows}

    def _perplexity(self, plain: Any, tokens: Kept) -> dict[str, float]:
        return perplexity(plain.model, plain.get_eval_dataloader(self.examples), "perplexity", metrics=[tokens])

    def _choose(self, metrics: dict[str, float]) -> None:
        """The metric to compare by, and its direction, once it is known what there is."""
        if self.metric:
            return
        if self.wanted is None:
            metric = next((name for name in ("perplexity", "accuracy") if name in metrics), "loss")
        else:
            metric = self.wanted.removeprefix("eval_")
            metric = "nll" if metric == "loss" and "loss" not in metrics and "nll" in metrics else metric
            if metric not in metrics:
                raise CompressionError(unknown("metric", metric, metrics))
        self.greater_is_better, self.metric = self._direction(metric), metric

    def _direction(self, metric: str) -> bool:
        """True where more is better."""
        trainer, known = self.trainer, self._given
        if known is None:
            known = direction_of(metric, getattr(trainer.compute_metrics, "metrics", ()))
        best = trainer.args.metric_for_best_model
        if known is None and best is not None and best.removeprefix("eval_") == metric:
            known = trainer.args.greater_is_better
        if known is None:
            raise CompressionError(
                f"save_result does not know whether more of {metric!r} is better; pass greater_is_better=True, or False"
            )
        return known


class _Listening:
    """Counts the likelihood of the tokens in the logits that an evaluation makes for other metrics.

    Args:
        likelihood: counts.
        then: the trainer's own function of logits and labels, or None.
    """

    def __init__(self, likelihood: Likelihood, then: Any) -> None:
        self.likelihood, self.then = likelihood, then

    def __call__(self, logits: Any, labels: Any) -> Any:
        """The logits, as `then` makes them; what a generation gives instead of logits is not counted."""
        first = logits[0] if isinstance(logits, tuple | list) else logits
        if isinstance(first, Tensor) and isinstance(labels, Tensor) and first.shape[:-1] == labels.shape:
            self.likelihood.add(first, labels)
        return logits if self.then is None else self.then(logits, labels)
