"""Where a job writes."""

from pathlib import Path

from hf_compress._errors import CompressionError
from hf_compress._folders import check_place
from hf_compress._paths import expand


def place(output_dir: str) -> Path:
    """The folder that a recipe names for something new; the opener of every job with an `output_dir`.

    Raises:
        CompressionError: at `output_dir`; see `check_place`.
    """
    folder = expand(output_dir, "output_dir")
    try:
        check_place(folder)
    except CompressionError as error:
        raise CompressionError(f"output_dir: {error}") from error
    return folder
