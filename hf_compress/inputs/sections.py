"""The parts of a recipe that are not objects of the library already."""

from dataclasses import dataclass, field
from typing import Any

from hf_compress._errors import CompressionError
from hf_compress._model_size import check_counts
from hf_compress._registry import unknown

SPLITS = ("train", "validation", "test")
_MOVED = (
    "text",
    "text_pair",
    "image",
    "audio",
    "label",
    "labels",
    "tokens",
    "messages",
    "prompt",
    "completion",
    "source",
    "target",
    "question",
    "context",
    "length",
)


def _positive(value: int | None, name: str) -> None:
    if value is not None and value < 1:
        raise CompressionError(f"{name}={value} must be 1 or more")


@dataclass(frozen=True, kw_only=True)
class Data:
    """Where examples come from.

    Attributes:
        path: `builtin:pydoc`, a local file (parquet, json, jsonl, csv, tsv, txt), a folder (of such files, of images
            or sounds, or from `save_to_disk`), or a Hub data set id.
        name: the configuration of a Hub data set.
        splits: what the data calls `train`, `validation` and `test`, where that is something else: {validation: dev}.
        validation_share: share of the training rows that becomes a missing validation or test split.
        max_train: use at most so many training rows (documents, before tokenization); None = all.
        max_eval: the same for validation and test.
        streaming: training rows are read while they are trained on, and never stored.
    """

    path: str
    name: str | None = None
    splits: dict[str, str] = field(default_factory=dict)
    validation_share: float = 0.05
    max_train: int | None = None
    max_eval: int | None = None
    streaming: bool = False

    def __post_init__(self) -> None:
        if not self.path:
            raise CompressionError("path is empty; name a file, a folder, a Hub data set or builtin:pydoc")
        for split in self.splits:
            if split not in SPLITS:
                raise CompressionError(f"splits: {unknown('split', str(split), SPLITS)}; write {{validation: dev}}")
        _positive(self.max_train, "max_train")
        _positive(self.max_eval, "max_eval")
        if not 0 < self.validation_share < 0.5:
            raise CompressionError(f"validation_share={self.validation_share} must lie between 0 and 0.5")
        if self.streaming and self.validation_share != type(self).validation_share:
            raise CompressionError(
                "validation_share is a share of all rows, which of a stream are not known; leave it out and write"
                " max_eval: 500, so many rows of its beginning become a missing split"
            )

    @classmethod
    def refused_key(cls, key: str, value: Any) -> str | None:
        """What is said about keys that stand elsewhere; None for any other."""
        if key not in _MOVED:
            return None
        return f"columns and length belong to the task now; write task: {{name: ..., {key}: {value}}}"


@dataclass(frozen=True, kw_only=True)
class FreshModel:
    """A model with fresh weights.

    Attributes:
        config: `model_type` and any fields of that architecture's config.
    """

    config: dict[str, Any]

    def __post_init__(self) -> None:
        if not isinstance(self.config.get("model_type"), str):
            raise CompressionError("config needs a model_type, e.g. llama")
        check_counts(self.config, "config")


@dataclass(frozen=True, kw_only=True)
class FreshTokenizer:
    """A byte-level BPE tokenizer trained on the training split.

    Attributes:
        vocab_size: entries, the 256 bytes and the special token included.
    """

    vocab_size: int = 4096

    def __post_init__(self) -> None:
        if self.vocab_size < 300:
            raise CompressionError(
                f"vocab_size={self.vocab_size} leaves no room for merges beside 256 bytes; take 300 or more"
            )
