"""Examples of a task: of rows that are there, and of rows that are read while they are trained on."""

from functools import partial
from typing import Any

from hf_compress._errors import CompressionError
from hf_compress.inputs.file_names import with_files
from hf_compress.inputs.sections import Data
from hf_compress.inputs.sources import open_source
from hf_compress.inputs.streams import describe_stream, training_stream
from hf_compress.tasks.task import Splits, Task


def prepare_examples(
    task: Task, data: Data, raw: Splits, processor: Any, labels: list[str], seed: int
) -> tuple[Splits, dict[str, str]]:
    """The splits as the model takes them, and what is known of them; streamed training rows come without an end.

    Args:
        task: the recipe's.
        data: the recipe's.
        raw: the splits as loaded.
        processor: the task's.
        labels: in the order of their ids.
        seed: of the order in which a stream is read.

    Raises:
        CompressionError: a split gives no example, or an example cannot be made.
    """
    if not data.streaming:
        examples = task.examples(raw, processor, labels)
        return examples, task.describe_examples(raw, examples)
    rows = training_stream(
        data,
        open_source(data),
        seed,
        raw["train"].features,
        prepare=partial(with_files, columns=task.columns(), data=data),
        check=lambda some: task.check_data({"train": some}, data),
    )
    examples = task.examples({**raw, "train": rows}, processor, labels)
    stream: Any = examples["train"]
    if next(iter(stream), None) is None:
        raise CompressionError(f"data.path: the train split of {data.path} gives no {task.unit}; add rows")
    # One pass that never ends: a resumed Trainer finds its place in the first pass only.
    return {**examples, "train": stream.repeat(None)}, describe_stream(raw["train"])
