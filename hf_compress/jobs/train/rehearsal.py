"""The way from a model to the report's row, walked once with the untrained model, before the first step."""

import contextlib
import logging

import torch

from hf_compress import _distributed
from hf_compress._disk import DiskError, disk_errors
from hf_compress._errors import CompressionError, reason_of
from hf_compress._folders import remove
from hf_compress._modules.types import cast_weights
from hf_compress.export.example import example_for
from hf_compress.export.formats.dense import DenseFormat
from hf_compress.jobs.train.run_folder import RunFolder
from hf_compress.jobs.train.settings import TrainSettings
from hf_compress.jobs.train.shrunk import shrunk_for_trial
from hf_compress.pruning.fit import chosen
from hf_compress.pruning.kept_zeros import NothingKeptError, check_kept
from hf_compress.pruning.shrink.removal import PlannedRemoval
from hf_compress.quantization.ptq import quantize
from hf_compress.tasks.opened import Opened

logger = logging.getLogger(__name__)


def rehearse(
    recipe: TrainSettings,
    opened: Opened,
    folder: RunFolder,
    device: torch.device,
    removal: PlannedRemoval | None = None,
) -> None:
    """Write the untrained model as the trained one will be written, load it back and measure one batch.

    Costs one export with its load-back, one more loading and one batch of the test split. What fails here would fail after
    the training. Packing does not work inside a process group, so where several processes train, the model is written
    unpacked.

    Args:
        recipe: the run's.
        opened: its model, data and task.
        folder: the run's; a temporary folder in it is used and removed.
        device: where the result will be measured.
        removal: what `shrink` takes out.

    Raises:
        CompressionError: a step fails, with its reason.
    """
    part = folder.rows / "rehearsal"
    trained = str(folder.dense) if folder.dense.exists() else None
    try:
        with disk_errors(folder.path):
            remove(folder.rows)
            part.mkdir(parents=True)
            model = opened.load_model(recipe.seed, trained)
            if removal is not None:
                model = shrunk_for_trial(model, removal)
                opened = opened if removal.vocabulary is None else removal.vocabulary.opened
            elif recipe.pruning is not None and recipe.pruning.keeps_zeros:
                check_kept(model, chosen(model, recipe.pruning), recipe.pruning.ignore)
            alone = _distributed.world_size() == 1
            form = recipe.export_format if alone or recipe.quantization is None else DenseFormat()
            cast_weights(model, recipe.export.dtype)
            if alone and recipe.quantization is not None:
                quantize(model, recipe.quantization)
            example = example_for(form, opened, model, recipe.evaluation.batch_size)
            form.write(model, part, opened.processor, example, place=folder.compressed)
            del model
            loaded = form.load(opened.task.model_class(), part).to(device)
            test, size = opened.examples["test"], recipe.evaluation.batch_size
            batch, rows = test.select(range(min(len(test), size))), opened.raw["test"]
            opened.task.evaluate(loaded, batch, rows, opened.processor, size, "rehearsing the export")
    except (DiskError, OSError, NothingKeptError):  # no fault of the export
        raise
    except CompressionError as error:
        raise CompressionError(f"export: tried with the untrained model, before training: {error}") from error
    except Exception as error:  # each architecture and each library fails in its own way
        raise CompressionError(
            f"export: the untrained model cannot be written, loaded back and measured in {recipe.export.dtype}, so neither"
            f" could the trained one: {reason_of(error)}; change export.dtype or what is compressed"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            remove(folder.rows)
    logger.info("rehearsed: the model can be written in %s, loaded back and measured", recipe.export.dtype)
