"""Whether a model can do a task on the tokens and images it is given."""

from typing import TYPE_CHECKING, Any

from hf_compress._errors import CompressionError
from hf_compress.tasks.task import Task

if TYPE_CHECKING:
    from transformers import PretrainedConfig


def check_kind(task: Task, config: "PretrainedConfig") -> None:
    """Refuse configs that make a model, and the wrong one.

    Raises:
        CompressionError: an encoder for a causal task, or images of other than 3 channels.
    """
    from transformers import MODEL_FOR_MASKED_LM_MAPPING

    sees_ahead = getattr(config, "is_decoder", None) is False and type(config) in MODEL_FOR_MASKED_LM_MAPPING
    if not task.labelled and sees_ahead:
        raise CompressionError(
            f"model: {config.model_type} is an encoder that sees the tokens it should predict; name a causal model, or"
            " set is_decoder: true in its config"
        )
    channels = getattr(config, "num_channels", 3)
    if task.input == "image" and channels != 3:
        raise CompressionError(f"model: num_channels={channels}, and images are read as RGB; name a model for 3 channels")


def check_length(task: Task, length: int, limit: int | None) -> None:
    """Refuse texts longer than the model's positions, and blocks in which no token follows another.

    Raises:
        CompressionError: naming the numbers.
    """
    if not task.labelled and length < 2:
        raise CompressionError(
            f"data.length: {length} is too short: the first token of a block predicts the second; write 2 or more"
        )
    if task.input == "text" and limit is not None and length > limit:
        raise CompressionError(f"data.length: {length} tokens are more than the model's {limit} positions")


def check_vocabulary(task: Task, processor: Any, config: "PretrainedConfig") -> None:
    """Refuse a tokenizer that has more entries than the model.

    Raises:
        CompressionError: naming both numbers.
    """
    size = getattr(config.get_text_config(), "vocab_size", None)
    if task.input == "text" and processor is not None and size is not None and len(processor) > size:
        raise CompressionError(
            f"tokenizer: it has {len(processor)} entries and the model only {size}; take the model's own tokenizer"
        )
