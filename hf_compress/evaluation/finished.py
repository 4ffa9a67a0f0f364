"""A finished model, loaded as those who use it load it."""

import copy
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedModel

from hf_compress._errors import CompressionError, reason_of
from hf_compress._sharding.contract import loading_whole
from hf_compress.checkpoints.export_format import ExportFormat
from hf_compress.checkpoints.exported import backend_of
from hf_compress.checkpoints.location import resolve_folder
from hf_compress.checkpoints.weight_files import holds_program
from hf_compress.tasks.opened import Opened


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A model that is measured.

    Attributes:
        name: what the report calls it.
        source: a folder or Hub id.
        opened: its examples.
        model: loaded, where it is measured.
    """

    name: str
    source: str
    opened: Opened
    model: PreTrainedModel


def load_finished(opened: Opened, model: str, field: str = "model") -> PreTrainedModel:
    """A model as those who use it load it, told what its task tells every model; a program in its own runtime.

    Args:
        opened: what goes with it.
        model: the folder or Hub id.
        field: what a refusal names.

    Raises:
        CompressionError: it does not load.
    """
    assert opened.config is not None and opened.base is not None
    config = copy.deepcopy(opened.config)
    config.dtype = opened.base.dtype  # the skeleton, which is in fp32, has left its own there
    try:
        folder = resolve_folder(model, field)
        loaded: Any
        if holds_program(folder):
            loaded = ExportFormat.create(backend_of(folder)).load(opened.task.model_class(), folder)
        else:
            with loading_whole():
                loaded = opened.task.model_class().from_pretrained(
                    folder, config=config, dtype="auto", trust_remote_code=False
                )
    except CompressionError:
        raise
    except Exception as error:  # files and formats each raise their own kind
        raise CompressionError(f"{field}: {model} cannot be loaded: {reason_of(error)}") from error
    opened.task.finish_model(loaded, opened.processor)
    return loaded.eval()  # type: ignore[no-any-return]
