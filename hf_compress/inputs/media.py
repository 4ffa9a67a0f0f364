"""Folders of images or sounds, read by `imagefolder` and `audiofolder` of `datasets`."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_compress._errors import CompressionError
from hf_compress.inputs.data_files import build_splits, escaped, read_files
from hf_compress.inputs.row_numbers import row_named
from hf_compress.inputs.split_names import assign, say_unread

if TYPE_CHECKING:
    from datasets import Dataset

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
"""Beside images or sounds they name them (`file_name`) and say their other columns."""


def media_of(folder: Path) -> str | None:
    """The builder of what lies in a folder; None without images and sounds.

    Raises:
        CompressionError: there are both.
    """
    found = [builder for builder in ("imagefolder", "audiofolder") if any(_files(folder, builder))]
    if len(found) > 1:
        raise CompressionError(f"data.path: the folder {folder} mixes images and sounds; keep one kind")
    return found[0] if found else None


def load_media(path: Path, builder: str, wanted: Mapping[str, str], streaming: bool = False) -> dict[str, Any]:
    """The splits, which are folders; `image` or `audio`, and the columns of METADATA or, without, the folders as `label`.

    Args:
        path: of the folder.
        builder: see `media_of`.
        wanted: `data.splits`.
        streaming: they are IterableDatasets.

    Raises:
        CompressionError: sounds are streamed, a split is not there, or metadata cannot be read or names what is not there.
    """
    if streaming and builder == "audiofolder":
        raise CompressionError("data.streaming: every sound is looked at before training; leave it out")
    folders = {folder.name: folder for folder in sorted(path.iterdir()) if folder.is_dir()}
    chosen = {split: names[0] for split, names in assign(folders, wanted, str(path), whole=True).items()}
    places = {split: folders[name] for split, name in chosen.items()} or {"train": path}
    if chosen:
        say_unread(str(path), [name for name in folders if name not in chosen.values()])
        lost = [name for name in METADATA if (path / name).is_file()]
        if lost:
            raise CompressionError(
                f"data.path: {path / lost[0]} stands beside the splits {', '.join(chosen.values())}, and would say the rows"
                " of each of them; put one into each of their folders"
            )
    metadata = {split: _metadata(folder) for split, folder in places.items()}
    for split, folder in places.items():
        if metadata[split] is None and any(metadata.values()):
            raise CompressionError(f"data.path: {folder} has no metadata, and another split has; give each split its own")
    if builder == "audiofolder" and any(metadata.values()):
        return {split: _sounds(folder, metadata[split]) for split, folder in places.items()}
    files = {split: [f"{escaped(folder)}/**"] for split, folder in places.items()}
    # Said, because `datasets` decides it split by split and takes the folder of a split for a label.
    options: dict[str, Any] = {"drop_labels": any(metadata.values()) or not _labelled(places.values(), builder)}
    if builder == "audiofolder":
        options["features"] = _features_with_paths(files, path, options)
    return dict(build_splits(builder, files, str(path), streaming=streaming, **options))


def _labelled(folders: Iterable[Path], builder: str) -> bool:
    """Whether every file lies in a folder that is its label: in several folders, all equally deep."""
    places = [file.relative_to(folder).parts for folder in folders for file in _files(folder, builder)]
    return (
        all(len(parts) > 1 for parts in places)
        and len({parts[-2:-1] for parts in places}) > 1
        and len({len(parts) for parts in places}) == 1
    )


def _files(folder: Path, builder: str) -> Iterator[Path]:
    from datasets.packaged_modules.audiofolder.audiofolder import AudioFolder
    from datasets.packaged_modules.imagefolder.imagefolder import ImageFolder

    endings = set((ImageFolder if builder == "imagefolder" else AudioFolder).EXTENSIONS)
    for file in folder.rglob("*"):
        hidden = any(part.startswith((".", "__")) for part in file.relative_to(folder).parts)  # as `datasets` has it
        if file.suffix.lower() in endings and not hidden:
            yield file


def _metadata(folder: Path) -> Path | None:
    return next((folder / name for name in METADATA if (folder / name).is_file()), None)


def _features_with_paths(files: Mapping[str, list[str]], path: Path, options: Mapping[str, Any]) -> Any:
    """The features of a folder of sounds with paths in the place of `datasets.Audio`, which needs torchcodec."""
    from datasets import Audio, Features, Value

    first = next(iter(build_splits("audiofolder", files, str(path), streaming=True, **options).values()))
    return Features({name: Value("string") if isinstance(one, Audio) else one for name, one in first.features.items()})


def _sounds(folder: Path, metadata: Path | None) -> "Dataset":
    """The rows of a file of metadata, with the path of each sound; for the same reason not by `audiofolder`."""
    assert metadata is not None, folder
    rows = read_files([metadata])
    if "file_name" not in rows.column_names:
        raise CompressionError(
            f"data.path: {metadata} has no column file_name, which names the sounds"
            f" (columns: {', '.join(rows.column_names)})"
        )
    for row, name in enumerate(rows["file_name"]):
        if not isinstance(name, str) or Path(name).is_absolute() or ".." in Path(name).parts:
            raise CompressionError(
                f"data.path: {row_named(row, str(metadata))} has the file_name {name!r}; name a file below that folder"
            )
    paths = [str(folder / name) for name in rows["file_name"]]
    return rows.add_column("audio", paths).remove_columns("file_name")  # type: ignore[call-arg]
