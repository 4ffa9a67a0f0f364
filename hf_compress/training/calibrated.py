"""A criterion's statistics, collected on a trainer's own data while it trains."""

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import nn

from hf_compress._errors import CompressionError
from hf_compress.calibration.examples import calibration_batches
from hf_compress.pruning.statistics import Stats, lacking, needy_part, statistics_for
from hf_compress.training.compression import Compression
from hf_compress.training.first_batch import readable, undisturbed

logger = logging.getLogger(__name__)

Statistics = Callable[[nn.Module, Mapping[str, nn.Module]], Stats]
"""A model, and the layers whose statistics are wanted, as they are now."""


def no_statistics(model: nn.Module, modules: Mapping[str, nn.Module]) -> Stats:
    """Where none are needed."""
    return {}


def statistics_of_trainer(trainer: Any) -> Statistics:
    """What gives the criterion of a trainer its statistics.

    The model runs in evaluation mode over the chosen rows, made into batches by the trainer's own collator; weights, modes
    and random states end as they were. Several processes share the work, and all get the same statistics.

    Args:
        trainer: made, with its compression.

    Raises:
        CompressionError: the criterion needs statistics and there is no calibration, or reading the training data for it
            would change the training.
    """
    pruning, calibration = trainer.compression.pruning, trainer.compression.calibration
    say_unused(trainer.compression)
    if pruning is None or not pruning.needs:
        return no_statistics
    if calibration is None:
        part, _ = needy_part(pruning)
        raise CompressionError(
            f"pruning.{part.kind}: {lacking(pruning, 'pass calibration=Calibration() to the trainer to collect them')}"
        )
    num_rows = len(_readable(trainer)[0])
    if 0 < num_rows < calibration.num_examples:
        logger.warning("calibration.num_examples=%d and the training data has %d", calibration.num_examples, num_rows)

    def collected(model: nn.Module, modules: Mapping[str, nn.Module]) -> Stats:
        with undisturbed(model), trainer.accelerator.autocast():
            return statistics_for(model, modules, pruning, batches_of_trainer(trainer))

    return collected


def say_unused(compression: Compression) -> None:
    """A line in the log where there is a calibration that nothing looks at."""
    pruning = compression.pruning
    if compression.calibration is not None and (pruning is None or not pruning.needs):
        logger.warning("calibration is set, and no criterion needs statistics: nothing is collected")


def batches_of_trainer(trainer: Any) -> Iterator[Any]:
    """The batches of a trainer's calibration.

    Raises:
        CompressionError: there is no training data, or reading it would change the training.
    """
    rows, collator = _readable(trainer)
    return calibration_batches(rows, collator, trainer.compression.calibration)


def _readable(trainer: Any) -> tuple[Any, Any]:
    try:
        found = readable(trainer)
    except CompressionError as error:
        raise CompressionError(
            f"calibration: the training data cannot be read without changing the training: {error}; give a data set with"
            " rows and a length, or prune by a criterion that needs no statistics"
        ) from error
    return ((), None) if found is None else found
