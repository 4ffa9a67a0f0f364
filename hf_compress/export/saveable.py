"""What would make saving fail is asked before anything is written."""

from torch import nn

from hf_compress._errors import CompressionError, reason_of
from hf_compress._modules.finite import check_finite
from hf_compress._modules.plain_model import is_adapted


def check_saveable(model: nn.Module, dtype: str = "auto") -> None:
    """Refuse a model that cannot be written, while nothing has happened to it yet.

    Args:
        model: only read.
        dtype: as what it will be stored.

    Raises:
        CompressionError: it is not a transformers model, carries adapters, a weight is NaN or infinite, or its generation
            settings are such that transformers does not write them.
    """
    if not hasattr(model, "save_pretrained"):
        raise CompressionError(
            f"{type(model).__name__} is not a transformers model (it has no save_pretrained), so no other program could"
            " load its checkpoint; make it a PreTrainedModel, or write model.state_dict() yourself"
        )
    if is_adapted(model):
        raise CompressionError(
            f"{type(model).__name__} is a model with adapters, and save_pretrained would write them alone; merge them first"
            " (merge_and_keep_zeros(model).model, or merge_and_unload() where nothing is pruned), or save them with the"
            " model's own save_pretrained"
        )
    check_finite(model, dtype)
    settings = getattr(model, "generation_config", None)
    if settings is not None and model.can_generate():  # type: ignore[operator]
        try:
            settings.validate(strict=True)
        except ValueError as error:
            reason = reason_of(error).partition(" If you're using")[0].rstrip(".")
            raise CompressionError(
                f"model.generation_config cannot be saved: {reason}; correct it (for sampling settings, do_sample = True)"
                " and save again"
            ) from error
