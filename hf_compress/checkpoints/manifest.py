"""`compression.json`: what was done to a model, with what, and how far; enough to render its card again."""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from hf_compress import _provenance
from hf_compress._errors import CompressionError, reason_of
from hf_compress._kinds import shown
from hf_compress.checkpoints.hashes import weight_hashes

MANIFEST = "compression.json"
WEIGHTS = "weights"
"""The fact that names the weight files with their SHA-256; older manifests have none."""
CHECKPOINT = "checkpoint"
"""The kind of a run that is not finished: what lies in a checkpoint of its training."""
_FORMAT = 1
_TECHNIQUES = ("pruning", "quantization", "distillation")
"""Of the checkpoints that had no format."""
_EXPORT_AGAIN = "export the model again, or take the file from where it was published"


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What one folder with weights says of itself.

    The file is flat: the fields below, and each fact under its own name. It is there to be published, so whoever makes one
    leaves out paths and names of the user's machine.

    Attributes:
        kind: the job that made the weights ("train", "merge"), or `CHECKPOINT`.
        name: the result's; None for a checkpoint.
        recipe: what was asked for; of a checkpoint the techniques alone.
        facts: what this kind says besides, plain data by name; the card renders from them.
        created: the date; None where the file does not say it.
        versions: package -> version.
    """

    kind: str
    name: str | None = None
    recipe: dict[str, Any]
    facts: dict[str, Any] = field(default_factory=dict)
    created: str | None = field(default_factory=_provenance.today)
    versions: dict[str, str] = field(default_factory=_provenance.versions)

    def __post_init__(self) -> None:
        hidden = self.facts.keys() & {"format", *_FIELDS}
        if hidden:
            raise CompressionError(f"a fact of a manifest is called {min(hidden)}, which every manifest has; rename it")

    def fact(self, name: str) -> Any:
        """A fact that this kind must have.

        Raises:
            CompressionError: it is not there.
        """
        if name not in self.facts:
            raise CompressionError(
                f"{MANIFEST} of {self.name or 'a checkpoint'} ({self.kind}) says nothing of {name!r}; {_EXPORT_AGAIN}"
            )
        return self.facts[name]

    def to_plain(self) -> dict[str, Any]:
        """As the file has it."""
        plain = {item.name: getattr(self, item.name) for item in dataclasses.fields(self) if item.name != "facts"}
        made = {key: plain.pop(key) for key in ("recipe", "created", "versions")}
        return {"format": _FORMAT, **plain, **self.facts, **made}

    def write(self, folder: Path) -> None:
        """Write compression.json into `folder`, whose weights are written already: a result's manifest has their hashes."""
        weights = {} if self.kind == CHECKPOINT else weight_hashes(folder)
        whole = dataclasses.replace(self, facts={**self.facts, WEIGHTS: weights}) if weights else self
        (folder / MANIFEST).write_text(json.dumps(whole.to_plain(), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: str | Path, way_out: str = _EXPORT_AGAIN) -> Self:
        """Read compression.json from `folder`, also one from before it said its kind or its format.

        Args:
            folder: with weights.
            way_out: what to do about a damaged file.

        Raises:
            CompressionError: it is missing, damaged, or of a format that a later version writes.
        """
        file = Path(folder) / MANIFEST
        if not file.is_file():
            raise CompressionError(f"{folder} holds no {MANIFEST}; it was not written by hf_compress")
        try:
            data = json.loads(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise CompressionError(f"{file} cannot be read: {error.strerror}; make it readable") from error
        except (ValueError, RecursionError) as error:
            raise CompressionError(f"{file} is damaged ({reason_of(error)}); {way_out}") from error
        if not isinstance(data, dict):
            raise CompressionError(f"{file} is damaged (it holds no mapping); {way_out}")
        data = _upgraded(data)
        if data["format"] != _FORMAT:
            raise CompressionError(
                f"{file} has format {data['format']!r}, and this version reads format {_FORMAT}; install a later one"
            )
        for key, kind in _FIELDS.items():
            if not isinstance(data.get(key), kind):
                raise CompressionError(f"{file} is damaged ({key} is {shown(data.get(key))}); {way_out}")
        facts = {key: value for key, value in data.items() if key != "format" and key not in _FIELDS}
        return cls(**{key: data[key] for key in _FIELDS}, facts=facts)


_FIELDS: dict[str, Any] = {
    "kind": str,
    "name": str | None,
    "recipe": dict,
    "created": str | None,
    "versions": dict,
}
"""What every file has beside its format and its facts."""


def _upgraded(data: dict[str, Any]) -> dict[str, Any]:
    """A file's content as this version would have written it.

    Until 0.1 a checkpoint had no format and its techniques stood at the top, and the manifest of a training had no kind.
    """
    if "format" in data:
        return _with_new_fields({"kind": "train", **data})
    facts = {key: value for key, value in data.items() if key not in ("hf_compress", *_TECHNIQUES)}
    return _with_new_fields(
        {
            "format": _FORMAT,
            "kind": CHECKPOINT,
            "name": None,
            "recipe": {key: data[key] for key in _TECHNIQUES if key in data},
            "created": None,
            "versions": {key: data[key] for key in ("hf_compress",) if key in data},
            **facts,
        }
    )


def _with_new_fields(data: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint's techniques with the settings that they did not have when it was written, at what they did then.

    A result keeps its recipe as it is, because its card quotes it.
    """
    recipe = data.get("recipe")
    pruning = recipe.get("pruning") if data["kind"] == CHECKPOINT and isinstance(recipe, dict) else None
    if isinstance(pruning, dict):
        pruning.setdefault("masks", "scored")
        if isinstance(pruning.get("schedule"), dict):
            pruning["schedule"].setdefault("initial", 0.0)
    return data
