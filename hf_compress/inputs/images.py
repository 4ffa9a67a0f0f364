"""What becomes of images before a model sees them."""

import io
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from hf_compress._errors import CompressionError, reason_of
from hf_compress.inputs.wrong_rows import Wrong

if TYPE_CHECKING:
    from datasets import Dataset
    from PIL.Image import Image

_LOOKED_AT = 16
"""Images at the beginning of a split; reading all would take as long as a pass over the data."""


def describe_images(split: "Dataset", column: str, processor: Any) -> str:
    """Their size in the data and the one that the processor makes, as a sentence part.

    Args:
        split: raw rows.
        column: of the images.
        processor: an image processor of transformers.
    """
    images = [row[column].convert("RGB") for row in split.select(range(min(len(split), _LOOKED_AT)))]
    (height, width) = processor(images[:1], return_tensors="pt")["pixel_values"].shape[-2:]
    sizes = sorted({image.size for image in images}, key=lambda size: (size[0] * size[1], size))
    given = " to ".join(f"{width}x{height}" for width, height in dict.fromkeys((sizes[0], sizes[-1])))
    made = f"{width}x{height}"
    if given == made:
        return f"{made} pixels, as in the data"
    ratio = width * height * len(images) / sum(image.size[0] * image.size[1] for image in images)
    more = f", {ratio:,.{0 if ratio >= 10 else 1}f} times the pixels" if ratio > 1 else ""
    return f"{given} pixels in the data, made {made} by {type(processor).__name__}{more}"


def undecoded_images(split: "Dataset", column: str) -> "Dataset":
    """The split with images as `read_image` takes them."""
    from datasets import Image

    return split.cast_column(column, Image(decode=False))


def no_images(split: "Dataset", column: str) -> Iterator[Wrong]:
    """Rows whose files are no images, by their headers.

    Args:
        split: raw rows.
        column: of the images.
    """
    import PIL.Image

    row = 0
    for batch in undecoded_images(split.select_columns([column]), column).iter(batch_size=1000):
        for value in batch[column]:
            try:
                with PIL.Image.open(value["path"] if value["bytes"] is None else io.BytesIO(value["bytes"])):
                    pass
            except (OSError, ValueError, SyntaxError) as error:
                yield Wrong(position=row, says=_reason(value, error), way_out="remove it, or mend the file")
            row += 1


def read_image(value: Mapping[str, Any]) -> "Image":
    """An image as RGB, turned as its camera was held.

    Args:
        value: {"bytes": ..., "path": ...}, one of which is None.

    Raises:
        CompressionError: it cannot be decoded.
    """
    from datasets import Image

    try:
        return Image().decode_example(dict(value)).convert("RGB")
    except (OSError, ValueError, SyntaxError) as error:
        raise CompressionError(f"an image {_reason(value, error)}") from error


def _reason(value: Mapping[str, Any], error: Exception) -> str:
    """What is wrong with a file; one that lies inside the data has a name at most."""
    return f"({value['path'] or 'without a name'}) cannot be decoded: {reason_of(error)}"
