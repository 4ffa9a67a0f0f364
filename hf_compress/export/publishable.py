"""What of a folder goes to the Hub, and whether it may: it holds a model, and says of itself what is so."""

import contextlib
import fnmatch
import json
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_compress._errors import CompressionError, reason_of
from hf_compress._kinds import shown
from hf_compress._paths import local_folder, public_names
from hf_compress._safetensors import member_folders, open_safetensors, read_entries, weight_files
from hf_compress._secrets import hide_secrets
from hf_compress.checkpoints.companion_names import VOCABULARIES
from hf_compress.checkpoints.hashes import ADAPTER, weight_hashes
from hf_compress.checkpoints.location import is_hub_id
from hf_compress.checkpoints.manifest import CHECKPOINT, MANIFEST, WEIGHTS, Manifest
from hf_compress.checkpoints.published_files import ADAPTER_CONFIG, CARD, files_of
from hf_compress.checkpoints.weight_files import program_files

logger = logging.getLogger(__name__)

_TEXTS = ("*.md", "*.yaml", "*.yml", "*config.json", "report.json", MANIFEST)
"""Files that people write, or that repeat what they have written: a secret may stand in them."""
_LONGEST_TEXT = 2**20
"""Bytes of other files that are looked at."""
_PATH = re.compile(
    r"(?<![\w.:/~<>-])(/(?:home|Users|root|tmp|var|mnt|media|data|scratch|workspace|work|opt|srv|private|Volumes)/[^\s\"'`)<>,]+"
    r"|~/[^\s\"'`)<>,]+|[A-Za-z]:\\[^\s\"'`)<>,]+)"
)
"""Where files lie on somebody's machine."""


@dataclass(frozen=True, kw_only=True)
class Publishable:
    """A folder that may be published.

    Attributes:
        folder: it.
        contents: path in the repository -> file, or its bytes.
        sha256: path -> SHA-256, of the weights.
        manifest: None where it has none.
    """

    folder: Path
    contents: dict[str, Path | bytes]
    sha256: dict[str, str]
    manifest: Manifest | None

    @property
    def message(self) -> str:
        """Of the commit."""
        if self.manifest is None:
            return f"Upload {self.folder.absolute().name}"
        return f"Upload {self.manifest.name or self.folder.absolute().name} ({self.manifest.kind}, hf_compress)"


def open_publishable(folder: str | Path) -> Publishable:
    """Look at every file of a folder that is to be published.

    Raises:
        CompressionError: it holds no model, or a training that is not finished; manifest and weights disagree; a path of
            this machine or a secret stands in what would be public.
    """
    folder = Path(folder)
    _check_model(folder)
    manifest = Manifest.read(folder) if (folder / MANIFEST).is_file() else None
    if manifest is None:
        logger.warning("%s holds no %s, so nothing says what was done to its weights", folder, MANIFEST)
    elif manifest.kind == CHECKPOINT:
        raise CompressionError(
            f"{folder} is a checkpoint of a training and not its result; name the folder that the run or save_result wrote"
        )
    files, left = files_of(folder)
    if left:
        logger.info("left out of the push: %s", ", ".join(left))
    for path, file in files.items():
        with _readable(file):
            _check_text(path, file)
    with _readable(folder):
        hashes = _weights(folder, manifest)
    contents: dict[str, Path | bytes] = dict(files)
    if CARD not in files:
        card = _card(manifest)
        if not card:
            logger.warning("%s holds no %s, so the model has no card", folder, CARD)
        contents |= {CARD: card.encode()} if card else {}
    return Publishable(folder=folder, contents=contents, sha256=hashes, manifest=manifest)


@contextlib.contextmanager
def _readable(place: Path) -> Iterator[None]:
    """What the system refuses to read, said as a refusal."""
    try:
        yield
    except OSError as error:
        name = error.filename or place
        raise CompressionError(f"{name} cannot be read: {error.strerror}; make it readable, or remove it") from error


def _card(manifest: Manifest | None) -> str:
    """The card that the manifest alone gives; empty where it gives none."""
    from hf_compress.export.card.render import has_own_card, render_card

    return "" if manifest is None or not has_own_card(manifest) else render_card(manifest)


def _check_model(folder: Path) -> None:
    """Refuse what no loader would take."""
    if not folder.is_dir():
        raise CompressionError(f"there is no folder {folder}; name the one that holds the model")
    if (folder / ADAPTER_CONFIG).is_file() and (folder / ADAPTER).is_file():
        open_safetensors(folder / ADAPTER)
        _check_base(folder)
        return
    members = member_folders(folder)
    for member in members:
        if not weight_files(member):
            raise CompressionError(f"{member}: this member of the ensemble has no weights; write the folder again")
        read_entries(member)
    if members:
        return
    if (folder / "config.json").is_file() and weight_files(folder):
        read_entries(folder)
        return
    if (folder / "config.json").is_file() and program_files(folder):
        return
    below = folder / "compressed"
    if (below / "config.json").is_file():
        raise CompressionError(f"{folder} is the folder of a run, and its result is {below}; name that")
    raise CompressionError(
        f"{folder} holds no model: config.json and *.safetensors, or {ADAPTER_CONFIG} and {ADAPTER}, should lie in it"
    )


def _check_base(folder: Path) -> None:
    """Refuse an adapter whose base nobody else has."""
    config = folder / ADAPTER_CONFIG
    check_base(_json(config).get("base_model_name_or_path"), f"{config}: base_model_name_or_path")


def check_base(base: Any, key: str) -> None:
    """Refuse a base that lies on this machine, for an adapter that others are to load.

    Args:
        base: as the adapter names it; None where it names none.
        key: what a refusal names.

    Raises:
        CompressionError: it is a folder or a path.
    """
    if isinstance(base, str) and base and (not is_hub_id(base) or local_folder(base) is not None):
        raise CompressionError(
            f"{key} is a folder of this machine ({base}), where nobody who loads the adapter finds its base; write the"
            " base's Hub id"
        )


def _weights(folder: Path, manifest: Manifest | None) -> dict[str, str]:
    """The hashes of the weights, which are those that the manifest was written with."""
    found = weight_hashes(folder)
    known = None if manifest is None else manifest.facts.get(WEIGHTS)
    if manifest is not None and known is None:
        logger.warning("%s has no hashes of the weights, so they are not compared with it", folder / MANIFEST)
    if known is None or known == found:
        return found
    if not isinstance(known, dict):
        raise CompressionError(f"{folder / MANIFEST} is damaged ({WEIGHTS} is {shown(known)}); export the model again")
    names = sorted(name for name in {*known, *found} if known.get(name) != found.get(name))
    how = {True: "has changed since", False: "is there and not named in it"}
    said = how[names[0] in known] if names[0] in found else "is named in it and not there"
    raise CompressionError(
        f"{folder}: {MANIFEST} and the weights disagree: {names[0]} {said}"
        f"{f' (and {len(names) - 1} more)' if len(names) > 1 else ''}; export the model again, so that card, numbers and"
        " weights are of one version"
    )


def _check_text(path: str, file: Path) -> None:
    """Refuse a secret, and a path of this machine, where people would read it."""
    if not any(fnmatch.fnmatchcase(path, pattern) for pattern in _TEXTS) and not _is_small_text(file):
        return
    text = file.read_text(encoding="utf-8", errors="replace")
    for number, line in enumerate(text.splitlines(), 1):
        if hide_secrets(line) != line:
            raise CompressionError(f"{file}, line {number}: a secret stands there, and would be public; take it out")
        found = _PATH.search(line) if path.endswith((".md", ".yaml", ".yml")) else None
        if found:
            raise CompressionError(
                f"{file}, line {number}: names {found[1]}, which is of this machine and means nothing to others; take it"
                f" out, or remove {path} where it can be made again"
            )
    if path in (MANIFEST, "config.json"):
        # `./name` is what a file that is there to be published calls a folder.
        named = {text: name for text, name in public_names(_json(file)).items() if not text.startswith("./")}
        if named:
            raise CompressionError(
                f"{file} names {min(named)}, which is of this machine and means nothing to others; write"
                f" {named[min(named)]}"
            )


def _is_small_text(file: Path) -> bool:
    """Whether somebody may have written it: a note, a program, a log. Tokens of vocabularies may be any word."""
    vocabulary = any(fnmatch.fnmatchcase(file.name, pattern) for pattern in VOCABULARIES)
    if vocabulary or file.stat().st_size > _LONGEST_TEXT:
        return False
    with file.open("rb") as stream:
        return b"\0" not in stream.read(4096)


def _json(file: Path) -> dict[str, Any]:
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CompressionError(f"{file} is damaged ({reason_of(error)}); write the folder again") from error
    if not isinstance(data, dict):
        raise CompressionError(f"{file} is damaged (it holds no mapping); write the folder again")
    return data
