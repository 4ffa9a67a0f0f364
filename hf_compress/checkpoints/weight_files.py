"""The files that hold a folder's weights, whichever way they are stored."""

from pathlib import Path

from hf_compress._safetensors import indexed_files, weight_files

PROGRAMS = "export.json"
"""What transformers calls the list of the exported programs in a folder."""
PROGRAM_FILES: dict[str, tuple[str, ...]] = {
    "onnx": ("*.onnx", "*.onnx.data"),
    "openvino": ("openvino_*.xml", "openvino_*.bin"),
    "executorch": ("*.pte",),
}
"""Backend of `transformers.exporters` -> the files of its programs, their weights among them."""


def program_files(folder: Path) -> list[Path]:
    """Those of an exported program, sorted; none where the folder does not say that it holds one."""
    if not (folder / PROGRAMS).is_file():
        return []
    return sorted(file for patterns in PROGRAM_FILES.values() for pattern in patterns for file in folder.glob(pattern))


def holds_program(folder: Path) -> bool:
    """Whether what lies there is loaded by another runtime: a list of programs, and no weights beside them."""
    return (folder / PROGRAMS).is_file() and not weight_files(folder)


def program_patterns() -> list[str]:
    """What programs on the Hub are fetched by."""
    return [pattern for patterns in PROGRAM_FILES.values() for pattern in patterns]


def bin_files(folder: Path) -> list[Path]:
    """The .bin files of a checkpoint, by the same rule as `weight_files`.

    Raises:
        CompressionError: the index cannot be read, or names a file that is not there.
    """
    if (folder / "pytorch_model.bin").is_file():
        return [folder / "pytorch_model.bin"]
    index = folder / "pytorch_model.bin.index.json"
    return indexed_files(index) if index.is_file() else sorted(folder.glob("pytorch_model*.bin"))


def stored_files(folder: Path) -> list[Path]:
    """What a model in the folder is loaded from: safetensors, else an exported program, else .bin files.

    Raises:
        CompressionError: see `weight_files`.
    """
    return weight_files(folder) or program_files(folder) or bin_files(folder)
