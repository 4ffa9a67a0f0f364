"""Folders of the user's machine, and what files that are there to be published call them."""

import contextlib
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path, PureWindowsPath
from typing import Any

from hf_compress._errors import CompressionError

_OF_THIS_MACHINE = re.compile(r"(~[\w.-]*)?[/\\]|[A-Za-z]:[\\/]|(.*[/\\])?\.\.([/\\]|$)|\.[/\\].*[/\\].")
_WRITTEN_TO = "output_dir"
"""The key under which plain data says a place on this machine that may not be there."""


def expand(path: str, key: str) -> Path:
    """A path with `~` resolved, as TrainingArguments resolves it for checkpoints.

    Args:
        path: as the recipe says it.
        key: what a refusal names.

    Raises:
        CompressionError: it starts with the home of a user who does not exist, or no path can look like that.
    """
    try:
        expanded = Path(path).expanduser()
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            expanded.stat()  # exists() would hide a null byte
    except RuntimeError as error:
        raise CompressionError(f"{key}: {path} starts with the home of a user who does not exist; write it out") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise CompressionError(f"{key}: {path[:80]!r} cannot be looked up: {reason}") from error
    return expanded


def local_folder(path: str) -> Path | None:
    """The folder that a path means, `~` resolved; None where there is none, or no path can look like that."""
    try:
        folder = Path(path).expanduser()
        return folder if folder.is_dir() else None
    except (OSError, ValueError, RuntimeError):  # too long, a null byte, the home of nobody
        return None


def absolute(folder: Path) -> Path:
    """The folder from the root on; links keep their names."""
    return folder.resolve() if ".." in folder.parts else folder.absolute()


def last_parts(folder: Path, folders: Collection[Path], taken: Collection[str] = ()) -> str:
    """As few of a folder's last parts as no other folder and no name has."""
    for length in range(1, len(folder.parts)):
        last = folder.parts[-length:]
        shared = any(other != folder and other.parts[-length:] == last for other in folders)
        if not shared and "/".join(last) not in taken:
            return "/".join(last)
    return folder.as_posix()


def public_names(data: Any) -> dict[str, str]:
    """What to call the paths in plain data that say where something lies on this machine: `./` and their last parts.

    Those are absolute paths, paths in a home, paths that leave the working directory, and longer ones of what is in it: a
    published file says no folder but the last. Names of one part, and what is not there, stay as they are written.

    Args:
        data: text, lists and mappings, e.g. a recipe.

    Returns:
        The path as it is written -> its name, as many parts as tell two paths apart.
    """
    places = set(_places(data))
    found = dict.fromkeys(
        text
        for text in _texts(data)
        if "\n" not in text and (_OF_THIS_MACHINE.match(text) or ("/" in text and (text in places or _is_here(text))))
    )
    folders = {text: _expanded(text) for text in found}
    names = {text: f"./{last_parts(folder, set(folders.values()))}" for text, folder in folders.items() if folder.name}
    return {text: name for text, name in names.items() if text != name}


def in_public(data: Any, names: Mapping[str, str]) -> Any:
    """Plain data with every path that has a public name by that name, also inside of sentences."""
    if isinstance(data, str):
        for path in sorted(names, key=len, reverse=True):
            data = data.replace(path, names[path])
        return data
    if isinstance(data, Mapping):
        return {key: in_public(value, names) for key, value in data.items()}
    return [in_public(item, names) for item in data] if isinstance(data, list | tuple) else data


def _expanded(text: str) -> Path:
    if text[1:2] == ":":
        return Path(PureWindowsPath(text).as_posix())
    try:
        return absolute(Path(text).expanduser())
    except (OSError, ValueError, RuntimeError):
        return Path(text)


def _is_here(text: str) -> bool:
    try:
        return Path(text).exists()
    except (OSError, ValueError):  # too long, a null byte
        return False


def _places(data: Any) -> Iterable[str]:
    """The values of `output_dir`, at any depth."""
    if isinstance(data, Mapping):
        for key, value in data.items():
            if key == _WRITTEN_TO and isinstance(value, str):
                yield value
            yield from _places(value)
    elif isinstance(data, list | tuple):
        for item in data:
            yield from _places(item)


def _texts(data: Any) -> Iterable[str]:
    if isinstance(data, str):
        yield data
    elif isinstance(data, Mapping | list | tuple):
        for item in data.values() if isinstance(data, Mapping) else data:
            yield from _texts(item)
