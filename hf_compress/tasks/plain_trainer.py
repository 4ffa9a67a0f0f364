"""A plain Trainer that evaluates: it pads, gathers and generates as the Trainer of the training does."""

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from hf_compress import _distributed
from hf_compress.inputs.batches import Casting

_ALONE = {
    "LOCAL_RANK": -1,
    "ACCELERATE_USE_FSDP": "false",
    **dict.fromkeys(("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE"), 1),
}
"""What a launcher would say to a process that has no others, in the variables that accelerate reads."""
_SPEED = ("runtime", "samples_per_second", "steps_per_second", "model_preparation_time")


@contextlib.contextmanager
def plain_trainer(
    model: nn.Module, arguments: Mapping[str, Any], collator: Any, *, generates: bool = False, **given: Any
) -> Iterator[Any]:
    """A Trainer of transformers, or a Seq2SeqTrainer; inside the `with` block it has a folder, and nothing is left of it.

    Behind the end of a process group it evaluates alone; TrainingArguments would wait for the others to start a new one.

    Args:
        model: loaded; inputs are cast to its type.
        arguments: TrainingArguments that an evaluation reads.
        collator: rows -> batch.
        generates: predictions are generated, where the arguments say `predict_with_generate`.
        **given: compute_metrics, preprocess_logits_for_metrics, processing_class.
    """
    from accelerate.utils import patch_environment
    from transformers import Seq2SeqTrainer, Seq2SeqTrainingArguments, Trainer, TrainingArguments

    kind, host = (Seq2SeqTrainingArguments, Seq2SeqTrainer) if generates else (TrainingArguments, Trainer)
    with tempfile.TemporaryDirectory() as nothing_is_written_here:
        with contextlib.nullcontext() if _distributed.membership()[1] > 1 else patch_environment(**_ALONE):
            args = kind(output_dir=nothing_is_written_here, report_to="none", **arguments)
        yield host(model=model, args=args, data_collator=Casting(collator, model), **given)  # type: ignore[arg-type]


def unpack_before_generation(trainer: Any, examples: Any) -> None:
    """One forward of a whole packed model, which unpacks its weights; generate() calls the encoder alone first."""
    if hasattr(trainer.model, "ct_decompress_hook") and getattr(trainer.args, "predict_with_generate", False):
        batch = next(iter(trainer.get_eval_dataloader(examples)))
        trainer.prediction_step(trainer.model, batch, prediction_loss_only=True)


def own_metrics(measured: Mapping[str, float]) -> dict[str, float]:
    """What an evaluation says of the model, without its prefix and without how fast it was."""
    named = {name.removeprefix("eval_"): value for name, value in measured.items() if name.startswith("eval_")}
    return {name: float(value) for name, value in named.items() if name not in _SPEED}
