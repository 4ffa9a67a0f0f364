"""What a published folder says of itself, against its files: everything that needs no forward pass."""

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_compress._errors import CompressionError
from hf_compress._version import __version__
from hf_compress.checkpoints.hashes import sha256_of
from hf_compress.checkpoints.manifest import MANIFEST, WEIGHTS, Manifest
from hf_compress.evaluation.compare import read_report
from hf_compress.evaluation.ensembled import report_of
from hf_compress.evaluation.report import findings
from hf_compress.evaluation.size import measure_size
from hf_compress.evaluation.tolerance import tolerances
from hf_compress.export.card.render import has_own_card, render_card
from hf_compress.export.card.results import leaderboard_files

CARD = "README.md"
_DIGIT = re.compile(r"\d")
_WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.index.json")


@dataclass(frozen=True, kw_only=True)
class Check:
    """One claim.

    Attributes:
        what: the claim.
        holds: None where it was not looked at.
        says: what was found.
    """

    what: str
    holds: bool | None
    says: str

    def __str__(self) -> str:
        mark = {True: "holds", False: "DOES NOT HOLD", None: "not checked"}[self.holds]
        return f"{mark:<14}{self.what}: {self.says}"


def check_manifest(folder: Path, manifest: Manifest) -> Iterator[Check]:
    """The manifest is text as it is written, to the last digit, and its tolerances follow from its numbers."""
    text = (folder / MANIFEST).read_text(encoding="utf-8", errors="replace")
    held = text == json.dumps(json.loads(text), indent=2) + "\n"
    report, data = manifest.facts.get("report"), manifest.facts.get("data") or {}
    said = manifest.facts.get("tolerance")
    if held and said is not None and report is not None and _same_version(manifest):
        held = _same(tolerances(report["rows"][-1]["metrics"], data.get("num_rows")), said)
    yield Check(what=MANIFEST, holds=held, says="as it was written" if held else "was changed since it was written")


def check_files(folder: Path, manifest: Manifest) -> Iterator[Check]:
    """Every file by its hash, and weights that the manifest does not know."""
    known: Mapping[str, str] = {**manifest.facts.get(WEIGHTS, {}), **manifest.facts.get("files", {})}
    if not known:
        yield Check(what="files", holds=None, says="the manifest has no hashes; an older version wrote it")
        return
    wrong = []
    for name, digest in known.items():
        file = folder / name
        if Path(name).is_absolute() or ".." in Path(name).parts:
            wrong.append(Check(what=name, holds=False, says="is not looked at: it would lie elsewhere"))
        elif not file.is_file():
            wrong.append(Check(what=name, holds=False, says="is not there"))
        elif sha256_of(file) != digest:
            wrong.append(Check(what=name, holds=False, says=f"its SHA-256 is not {digest[:16]}..."))
    there = {file.relative_to(folder).as_posix() for pattern in _WEIGHTS for file in folder.rglob(pattern)}
    wrong += [
        Check(what=name, holds=False, says="weights that the manifest does not know")
        for name in sorted(there - known.keys())
    ]
    yield from wrong
    yield Check(what="files", holds=not wrong, says=f"{len(known)} by the SHA-256 that the manifest has")


def check_card(folder: Path, manifest: Manifest) -> Iterator[Check]:
    """Every line that the manifest's card has, in this order, and what the Hub reads of it; more lines may stand between.

    Of a manifest that another version wrote, the table alone: its card may be worded otherwise.
    """
    file = folder / CARD
    if not file.is_file():
        made = has_own_card(manifest)  # as of adapters, which get theirs when they are pushed
        said = "is not there; a push makes it of the manifest" if made else "is not there"
        yield Check(what=CARD, holds=None if made else False, says=said)
        return
    report = manifest.facts.get("report")
    expected = render_card(manifest, "" if report is None else findings(report_of(report)))
    text = file.read_text(encoding="utf-8", errors="replace")
    front, lines = _split(expected)
    own_front, own = _split(text)
    same = _same_version(manifest)
    wanted = [line for line in lines if line.strip() and (same or line.startswith("|"))]
    missing = _missing(wanted, own)
    numbers = Counter(filter(_DIGIT.search, front.split())) - Counter(own_front.split())
    missing += sorted(numbers) if same else []
    for line in missing[:3]:
        yield Check(what=CARD, holds=False, says=f"does not say {line.strip()[:100]!r}, as the manifest does")
    if same and not missing:
        yield from _check_front(front, own_front)
    said = "every line of the manifest's card" if same else "the manifest's tables; another version wrote the text"
    yield Check(what=CARD, holds=not missing, says=f"{said} ({len(wanted)} lines)")


def _check_front(front: str, own: str) -> Iterator[Check]:
    """The front matter has what was written into it; more may stand there, and a licence be another."""
    from huggingface_hub import ModelCard

    try:
        wanted, found = (ModelCard(f"---\n{text}\n---\n").data.to_dict() for text in (front, own))
    except Exception as error:  # YAML and the Hub's library each raise their own kinds
        yield Check(what=CARD, holds=False, says=f"its front matter cannot be read ({type(error).__name__})")
        return
    for key, value in wanted.items():
        added = (
            isinstance(value, list)
            and key in ("tags", "datasets")
            and set(map(str, value)) <= set(map(str, found.get(key, [])))
        )
        if found.get(key) != value and not key.startswith("license") and not added:
            yield Check(what=CARD, holds=False, says=f"{key} in its front matter is not the manifest's")


def check_report(folder: Path, manifest: Manifest) -> Iterator[Check]:
    """report.json, and the results for the Hub, against the manifest."""
    known = manifest.facts.get("report")
    if known is None:
        return
    try:
        found = read_report(folder).to_plain(full=False)
    except CompressionError as error:
        yield Check(what="report.json", holds=False, says=str(error).replace("\n", "; "))
        return
    wanted = report_of(known).to_plain(full=False)
    other = sorted(key for key in wanted if not _same(wanted[key], found[key]))
    said = f"{', '.join(other)} is not the manifest's" if other else "the same numbers as the manifest"
    yield Check(what="report.json", holds=not other, says=said)
    for name, text in leaderboard_files(manifest).items():
        file = folder / name
        held = file.is_file() and file.read_text(encoding="utf-8", errors="replace") == text
        yield Check(what=name, holds=held, says="the manifest's numbers" if held else "is not what the manifest says")


def check_size(folder: Path, manifest: Manifest) -> Iterator[Check]:
    """The bytes of the weights, read from their headers."""
    report = manifest.facts.get("report")
    if report is None:
        return
    row = report["rows"][-1]
    try:
        size = measure_size(folder)
    except CompressionError as error:
        yield Check(what="size on disk", holds=False, says=str(error))
        return
    for key, words in (("file_bytes", "size on disk"), ("quantized_ratio", "quantized layers vs bf16")):
        held = _same(row[key], size[key])
        yield Check(what=words, holds=held, says=f"{size[key]}" if held else f"{size[key]}, and the card says {row[key]}")


def _same_version(manifest: Manifest) -> bool:
    """Another version may word a card otherwise, and tolerate otherwise."""
    return manifest.versions.get("hf_compress") == __version__


def _split(text: str) -> tuple[str, list[str]]:
    """Front matter, and the lines behind it."""
    parts = text.split("---\n", 2)
    if text.startswith("---\n") and len(parts) == 3:
        return parts[1], parts[2].splitlines()
    return "", text.splitlines()


def _missing(wanted: list[str], own: list[str]) -> list[str]:
    """Lines that do not follow one another in the text."""
    missing, place = [], 0
    for line in wanted:
        try:
            place = own.index(line, place) + 1
        except ValueError:
            missing.append(line)
    return missing


def _same(one: Any, other: Any) -> bool:
    """Equal; NaN is NaN, and numbers that went through JSON are what they were."""
    if isinstance(one, float) and isinstance(other, float):
        return one == other or (math.isnan(one) and math.isnan(other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)
