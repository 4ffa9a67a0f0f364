"""What becomes of images before a model sees them."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets import Dataset

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
