"""From a trainer to a folder worth publishing: what a recipe's run ends with, for runs that were written in Python."""

import contextlib
import dataclasses
import functools
import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from hf_compress import _distributed
from hf_compress._errors import CompressionError
from hf_compress._folders import check_place, written_beside
from hf_compress._once import saying_once
from hf_compress._provenance import describe_machine
from hf_compress._registry import dump
from hf_compress._runtimes import describe_storage
from hf_compress.checkpoints.export_format import ExportFormat
from hf_compress.evaluation.layers import measure_layers
from hf_compress.evaluation.measure import without_intervals
from hf_compress.evaluation.rows import Report, Row
from hf_compress.evaluation.shares import describe_reach, measure_shares, sparsity_of_layers
from hf_compress.evaluation.thresholds import Thresholds
from hf_compress.jobs.train.baseline import dense_models, origin_of, with_settings_of
from hf_compress.jobs.train.curves import curves, marks
from hf_compress.jobs.train.documents import describe_methods, write_documents
from hf_compress.jobs.train.measure import Measure
from hf_compress.jobs.train.untrained import dense_row, untrained_rows
from hf_compress.quantization.reach import loading_advice
from hf_compress.training.calibrated import batches_of_trainer
from hf_compress.training.mixin import CompressionMixin

logger = logging.getLogger(__name__)

_TRAINING = (
    "learning_rate",
    "num_train_epochs",
    "max_steps",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "lr_scheduler_type",
    "warmup_steps",
    "weight_decay",
    "max_grad_norm",
    "optim",
    "adam_beta1",
    "adam_beta2",
    "adam_epsilon",
    "bf16",
    "fp16",
    "gradient_checkpointing",
    "seed",
)
"""The arguments that make a run what it is; the rest may hold names and secrets of the user's machine."""


def save_result(
    trainer: Any,
    folder: str | Path,
    *,
    examples: Any = None,
    baseline: str | PreTrainedModel | None = None,
    metric: str | None = None,
    greater_is_better: bool | None = None,
    title: str | None = None,
    dtype: str = "auto",
    format: str | ExportFormat = "auto",
    untrained: bool = True,
) -> Report | None:
    """Finalize, export, load back, measure and report: the folder that a recipe's run would have left.

    Written are the checkpoint and its processor, report.json, .md, .png and .html, compression.json and the card. Rows
    are the dense model, compression without training, and the result; each is written, loaded again by its own class with
    plain transformers, and measured on `examples` by the trainer's own evaluation (its collator and `compute_metrics`).
    Causal language models are measured by their perplexity too, with an exact count of tokens.

    Args:
        trainer: a trained `CompressionTrainer`, or any Trainer with the mixin. Its model is finalized, where it is not yet.
        folder: must not exist; appears only when everything is written.
        examples: what to measure on, as the trainer's evaluations take it; by default its `eval_dataset`.
        baseline: the dense model: a folder, a Hub id or a model in memory. By default the student's frozen copy, where that
            is the teacher; else nobody knows the dense weights any more, and log and report say that nothing is compared.
        metric: the one to compare by; by default `metric_for_best_model`, else perplexity, accuracy or the loss.
        greater_is_better: its direction; by default that of the metric of this library that has its name, else as the
            trainer has it for `metric_for_best_model`.
        title: how report and card call the result; by default the folder's name.
        dtype: the type of everything that is not quantized, e.g. "bfloat16"; "auto" leaves the weights.
        format: how the result is written, as in a recipe's `export.format`.
        untrained: measure compression without training as well.

    Returns:
        The report; None on processes other than the first. Several processes end their process group here, because one of
        them alone exports: call this last.

    What failed on the way (a full disk, a metric that raises) can be mended, and this called again.

    Raises:
        CompressionError: no compression trainer, an adapter, no examples, an unknown metric, an occupied folder, a baseline
            that is not dense or is the trained model itself, a format that does not go with what was done, or what
            `finalize` and the export refuse.
    """
    folder = Path(folder).expanduser()
    _check(trainer, folder)
    form = _format(trainer, format, dtype)
    examples = trainer.eval_dataset if examples is None else examples
    if examples is None or isinstance(examples, Mapping):
        given = "no eval_dataset" if examples is None else f"several ({', '.join(map(str, examples))})"
        raise CompressionError(
            f"save_result measures on one set of examples, and the trainer has {given}; pass examples=..."
        )
    dense = dense_models(trainer, baseline)
    model = _finalized(trainer, dtype)
    if not _distributed.is_main():
        _distributed.leave()
        return None
    _distributed.leave()
    measure = Measure(trainer, model, examples, metric, greater_is_better)
    rows: list[Row] = []
    with saying_once(trainer.said), written_beside(folder) as part:
        if dense is not None:
            with tempfile.TemporaryDirectory(dir=part.parent, prefix=f".{folder.name}.rows-") as place:
                whole, processor = with_settings_of(trainer.model, dense()), trainer.processing_class
                of_dense = functools.partial(measure.row, name="dense")
                rows.append(dense_row(whole, Path(place), of_dense, processor, dtype))
                rows += untrained_rows(
                    whole,
                    Path(place),
                    measure.row,
                    compression=trainer.compression,
                    untrained=untrained,
                    batches=functools.partial(_batches, trainer),
                    form=form,
                    dtype=dtype,
                    processor=processor,
                    device=trainer.args.device,
                )
        form.write(model, part, trainer.processing_class, place=folder)
        shares = measure_shares(model, trainer.compression.pruning)
        rows.append(measure.row(part, "ours", form, train_s=trainer.train_s() or None, **shares))
        report = Report(
            title=title or folder.name,
            metric=measure.metric,
            greater_is_better=measure.greater_is_better,
            rows=tuple(rows),
            setting=_setting(trainer, model, examples, compared=dense is not None),
            reach=describe_reach(model, trainer.compression.pruning),
            loading=loading_advice(model),
            thresholds=_thresholds(trainer),
            history=curves(trainer.state.log_history),
            marks=marks(trainer.compression, trainer.state.log_history),
            layers=measure_layers(part, sparsity_of_layers(model, trainer.compression.pruning)),
            notes=without_intervals((measure.metric,), rows),
        )
        write_documents(
            report,
            part,
            recipe=_plain_run(trainer, dtype, form),
            base_model=origin_of(baseline),
            task=None,
            classes={"model": type(model).__name__, "processor": _processor_class(trainer.processing_class)},
            methods=describe_methods(trainer.compression),
        )
    return report


def _thresholds(trainer: Any) -> Thresholds:
    """The defaults, with what the run prunes to as a target."""
    pruning = trainer.compression.pruning
    return Thresholds(sparsity=None if pruning is None else pruning.target)


def _check(trainer: Any, folder: Path) -> None:
    if not isinstance(trainer, CompressionMixin):
        raise CompressionError(
            f"save_result takes a CompressionTrainer, or a Trainer with CompressionMixin, and this is a"
            f" {type(trainer).__name__}"
        )
    if not isinstance(trainer.model, PreTrainedModel):
        raise CompressionError(
            f"save_result writes models of transformers, and this is a {type(trainer.model).__name__}; merge an adapter"
            " first (model.merge_and_unload()), or save it with its own save_pretrained"
        )
    check_place(folder)


def _format(trainer: Any, asked: str | ExportFormat, dtype: str) -> ExportFormat:
    """The format that the result is written in.

    Raises:
        CompressionError: there is no such format, or it does not go with what was done to the model.
    """
    quantized = trainer.compression.quantization is not None
    form = (ExportFormat.create(asked) if isinstance(asked, str) else asked).chosen(quantized)
    mistake = form.mistake(quantized)
    if mistake:
        raise CompressionError(f"format={form.name!r}: {mistake}")
    if form.dtype and dtype not in ("auto", form.dtype):
        raise CompressionError(f"format={form.name!r} stores {form.dtype} alone; pass dtype={form.dtype!r}")
    return form


def _finalized(trainer: Any, dtype: str) -> Any:
    """The trainer's model, finalized by now or by an earlier call."""
    if trainer.finalized_model is not trainer.model:
        return trainer.finalize(dtype)
    if dtype != trainer.finalized_dtype:
        raise CompressionError(
            f"the model was finalized with dtype={trainer.finalized_dtype!r} and save_result is given dtype={dtype!r}; pass"
            f" dtype={trainer.finalized_dtype!r}"
        )
    return trainer.model


def _batches(trainer: Any) -> Any:
    """What a criterion's statistics are collected on."""
    return None if trainer.compression.calibration is None else batches_of_trainer(trainer)


def _setting(trainer: Any, model: PreTrainedModel, examples: Any, compared: bool) -> dict[str, Any]:
    """What the numbers were measured on."""
    with contextlib.suppress(TypeError):  # a stream has no length
        examples = f"{len(examples):,} examples"
    dtypes = {str(parameter.dtype).removeprefix("torch.") for parameter in model.parameters() if parameter.dim() > 1}
    return {
        "model": type(model).__name__,
        "data": examples if isinstance(examples, str) else "a stream",
        "optimizer steps": f"{trainer.state.global_step} compressed",
        **({} if compared else {"dense model": "not measured: nobody passed one"}),
        "stored as": ", ".join(describe_storage(name, trainer.args.device) for name in sorted(dtypes)),
        "seed": trainer.args.seed,
        **describe_machine(trainer.args.device),
    }


def _plain_run(trainer: Any, dtype: str, form: ExportFormat) -> dict[str, Any]:
    """The run as plain data, in place of a recipe: the techniques, and the arguments that differ from their defaults."""
    # Not those of an instance: one may refuse to be made on this machine (bf16 by default, without a GPU).
    defaults = {field.name: field.default for field in dataclasses.fields(trainer.args)}
    training = {}
    for key in _TRAINING:
        value = getattr(trainer.args, key)
        if value != defaults[key] and (value or defaults[key] is not None):  # None stands for False
            training[key] = str(value) if isinstance(value, str) else value  # an enum's value, as a recipe writes it
    return {
        "trainer": type(trainer).__name__,
        **{name: dump(technique, full=True) for name, technique in trainer.compression},
        "training": training,
        "export": {"format": dump(form, full=True), "dtype": dtype},
    }


def _processor_class(processor: Any) -> str | None:
    """What loads the processor that lies beside the weights."""
    if processor is None:
        return None
    return AutoTokenizer.__name__ if isinstance(processor, PreTrainedTokenizerBase) else type(processor).__name__
