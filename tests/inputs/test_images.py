"""The size of images in the data and for the model, in words; and files that are none."""

import PIL.Image
import pytest
from datasets import Dataset, Features, Image
from transformers import ViTConfig

from hf_compress._errors import CompressionError
from hf_compress.inputs.images import describe_images, no_images, read_image, undecoded_images
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


def files(folder, *contents):
    paths = []
    for number, content in enumerate(contents):
        paths.append(folder / f"{number}.png")
        content.save(paths[-1]) if isinstance(content, PIL.Image.Image) else paths[-1].write_bytes(content)
    given = Dataset.from_dict({"image": [str(path) for path in paths]}, features=Features({"image": Image()}))
    return given, paths


def test_an_image_is_read_as_datasets_reads_it(tmp_path):
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # held to the right
    PIL.Image.new("L", (4, 8), 7).save(tmp_path / "turned.jpg", exif=exif)
    given = Dataset.from_dict({"image": [str(tmp_path / "turned.jpg")]}, features=Features({"image": Image()}))
    read = read_image(undecoded_images(given, "image")[0]["image"])
    assert read.size == (8, 4) and read.mode == "RGB" and read.tobytes() == given[0]["image"].convert("RGB").tobytes()


def test_a_file_that_is_no_image_is_refused_with_its_row(tmp_path):
    given, paths = files(tmp_path, PIL.Image.new("RGB", (8, 8)), b"no image", b"")
    wrong = list(no_images(given, "image"))
    assert [one.position for one in wrong] == [1, 2] and wrong[1].way_out == wrong[0].way_out
    assert wrong[0].says.startswith(f"({paths[1]}) cannot be decoded: ")


def test_an_image_that_is_cut_off_is_refused_by_its_name_when_it_is_read(tmp_path):
    _, (whole,) = files(tmp_path, PIL.Image.effect_noise((64, 64), 50))
    given, paths = files(tmp_path, whole.read_bytes()[:600])
    assert not list(no_images(given, "image"))  # its header is right
    with pytest.raises(CompressionError, match=rf"^an image \({paths[0]}\) cannot be decoded"):
        read_image(undecoded_images(given, "image")[0]["image"])
