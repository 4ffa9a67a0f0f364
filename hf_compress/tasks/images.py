"""What tasks on images share: a column of images, an image processor, three channels."""

import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from hf_compress._errors import CompressionError
from hf_compress.inputs.columns import Column
from hf_compress.inputs.images import describe_images, no_images
from hf_compress.inputs.processors import load_image_processor
from hf_compress.inputs.row_checks import RowCheck
from hf_compress.inputs.sections import Data, FreshModel
from hf_compress.tasks.read_late import ReadsLate
from hf_compress.tasks.task import Splits

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@dataclass(frozen=True, kw_only=True)
class ImageTask(ReadsLate):
    """A task whose models see images, as RGB.

    Attributes:
        image: the column with images.
    """

    processor_class: ClassVar[str] = "AutoImageProcessor"
    inputs: ClassVar[str] = "images"

    image: str = "image"

    def columns(self) -> tuple[Column, ...]:
        """Images."""
        from datasets import Image

        return (Column(key="image", name=self.image, feature=Image()),)

    def check_data(self, splits: Splits, data: Data) -> None:
        """Refuse a machine that cannot read images, too."""
        if importlib.util.find_spec("PIL") is None:
            raise CompressionError(f"task: {self.name} reads images with Pillow; install hf-compress[vision]")
        super().check_data(splits, data)

    def row_checks(self) -> tuple[RowCheck, ...]:
        """Files that are no images."""
        return (*super().row_checks(), RowCheck(key="image", find=lambda split: no_images(split, self.image)))

    def describe(self, splits: Splits, processor: Any) -> dict[str, str]:
        """Their size in the data, and for the model."""
        return {"images": describe_images(splits["train"], self.image, processor)}

    def load_processor(self, model: str | FreshModel, config: "PretrainedConfig", splits: Splits) -> Any:
        """The model's image processor, or the architecture's."""
        return load_image_processor(model, config)

    def check_config(self, config: "PretrainedConfig", processor: Any) -> None:
        """Refuse models for other than 3 channels."""
        channels = getattr(config, "num_channels", 3)
        if channels != 3:
            raise CompressionError(
                f"model: num_channels={channels}, and images are read as RGB; name a model for 3 channels"
            )
