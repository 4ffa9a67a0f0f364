"""The size of images in the data and for the model, in words."""

import PIL.Image
import pytest
from datasets import Dataset, Features, Image
from transformers import ViTConfig

from hf_compress.inputs.images import describe_images
from hf_compress.inputs.processors import load_image_processor
from hf_compress.inputs.sections import FreshModel


def rows(*sizes):
    pictures = [PIL.Image.new("RGB", size) for size in sizes]
    return Dataset.from_dict({"image": pictures}, features=Features({"image": Image()}))


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([(32, 32)], r"32x32 pixels, as in the data"),
        ([(16, 16), (16, 16)], r"16x16 pixels in the data, made 32x32 by ViTImageProcessor\w*, 4\.0 times the pixels"),
        ([(4, 8), (64, 32)], r"4x8 to 64x32 pixels in the data, made 32x32 by ViTImageProcessor\w*"),
    ],
)
def test_both_sizes_by_hand(sizes, expected):
    import re

    processor = load_image_processor(FreshModel(config={"model_type": "vit"}), ViTConfig(image_size=32))
    assert re.fullmatch(expected, describe_images(rows(*sizes), "image", processor))
