"""One label for an image."""

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from hf_compress.inputs.images import read_image, undecoded_images
from hf_compress.inputs.labels import label_ids
from hf_compress.inputs.streams import is_stream, mapped
from hf_compress.tasks.heads import IMAGE_CLASSIFICATION, Head
from hf_compress.tasks.images import ImageTask
from hf_compress.tasks.one_label import OneLabel
from hf_compress.tasks.task import Splits

_AT_ONCE = 32
"""Images of a stream whose pixels are in memory together."""


@dataclass(frozen=True, kw_only=True)
class ImageClassification(OneLabel, ImageTask, name="image_classification"):
    """Images with one label each.

    Attributes:
        image: the column with images.
        label: the column with labels.
        classes: the names of the labels in the order of their ids; by default as the data has them.
    """

    head: ClassVar[Head] = IMAGE_CLASSIFICATION
    streams: ClassVar[bool] = True

    def examples(self, splits: Splits, processor: Any, labels: list[str]) -> Splits:
        """Pixels and labels, computed when a batch is read, because pixels of all images would not fit into memory."""
        ids = label_ids(splits, self.label, labels, self.classes)
        transform = partial(_read_images, processor=processor, image=self.image, label=self.label, ids=ids)
        files = {name: undecoded_images(split, self.image) for name, split in splits.items()}
        streams = {name: mapped(split, transform, name, _AT_ONCE) for name, split in files.items() if is_stream(split)}
        return streams | self.late({name: split for name, split in files.items() if name not in streams}, transform)


def _read_images(
    batch: dict[str, list[Any]], processor: Any, image: str, label: str, ids: dict[Any, int]
) -> dict[str, Any]:
    made = processor([read_image(item) for item in batch[image]], return_tensors="pt")
    # Of an ensemble's several processors each makes its own: pixel_values, pixel_values_1, ...
    pixels = {name: list(values) for name, values in made.items() if name.startswith("pixel_values")}
    return {**pixels, "labels": [ids[value] for value in batch[label]]}
