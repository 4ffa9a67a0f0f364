"""The way from a model to the report's row, walked once with the untrained model, before the first step."""

import contextlib
import logging
from typing import TYPE_CHECKING

import torch

from hf_compress import _distributed
from hf_compress._disk import DiskError, disk_errors
from hf_compress._errors import CompressionError, reason_of
from hf_compress._folders import remove
from hf_compress._modules.types import cast_weights
from hf_compress.export.dense import write_dense
from hf_compress.inputs.models import load_model
from hf_compress.jobs.train.results import write_model
from hf_compress.jobs.train.run_folder import RunFolder
from hf_compress.quantization.ptq import quantize

if TYPE_CHECKING:
    from hf_compress.jobs.train.plan import Plan

logger = logging.getLogger(__name__)


def rehearse(plan: "Plan", folder: RunFolder, device: torch.device) -> None:
    """Write the untrained model as the trained one will be written, load it back and measure one batch.

    Costs one export with its load-back, one more loading and one batch of the test split. What fails here would fail after
    the training. Packing does not work inside a process group, so where several processes train, the model is written
    unpacked.

    Args:
        plan: the run's.
        folder: the run's; a temporary folder in it is used and removed.
        device: where the result will be measured.

    Raises:
        CompressionError: a step fails, with its reason.
    """
    part = folder.rows / "rehearsal"
    recipe = plan.recipe
    source = str(folder.dense) if folder.dense.exists() else recipe.model
    try:
        with disk_errors(folder.path):
            remove(folder.rows)
            part.mkdir(parents=True)
            model = load_model(plan.task.model_class(), source, plan.config, plan.args.seed)
            if recipe.quantization is None or _distributed.world_size() > 1:
                write_dense(model, part, plan.processor, recipe.export.dtype, place=folder.compressed)
            else:
                cast_weights(model, recipe.export.dtype)
                quantize(model, recipe.quantization)
                write_model(plan, model, part, place=folder.compressed)
            del model
            loaded = plan.task.model_class().from_pretrained(part, trust_remote_code=False).to(device)
            test = plan.examples["test"]
            batch = test.select(range(min(len(test), recipe.evaluation.batch_size)))
            plan.task.evaluate(loaded, batch, plan.processor, recipe.evaluation.batch_size, "rehearsing the export")
    except (DiskError, OSError):
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
