"""The folder of one run: whose it is, what is finished, where to go on."""

import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

from hf_compress._errors import CompressionError
from hf_compress.recipe.paths import expand
from hf_compress.recipe.recipes import Recipe
from hf_compress.recipe.yaml_text import parse_yaml

logger = logging.getLogger(__name__)

_RECIPE = "recipe.yaml"
_PART = "recipe.part"
"""The recipe while it is written."""


class RunFolder:
    """`training.output_dir` of a train recipe.

    Attributes:
        path: the folder itself; checkpoints of the compression run lie in it.
        recipe_file: the canonical recipe; marks the folder as this run's.
        tokenizer: a fresh tokenizer.
        dense: the trained dense model.
        dense_training: its checkpoints while it trains.
        compressed: the result, to be published as it is.
        rows: checkpoints that exist only to be measured.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.path = expand(recipe.output_dir, "training.output_dir")  # type: ignore[attr-defined]
        self.recipe_file = self.path / _RECIPE
        self.tokenizer = self.path / "tokenizer"
        self.dense = self.path / "dense"
        self.dense_training = self.path / "dense-training"
        self.compressed = self.path / "compressed"
        self.rows = self.path / ".rows"

    def check(self, resume: bool) -> None:
        """Refuse a folder that is not this run's to write.

        Raises:
            CompressionError: it holds another run, something else, or this run and `resume` is not set.
        """
        check_place(self.path)
        if not self.recipe_file.is_file():
            return
        known = parse_yaml(self.recipe_file.read_text(encoding="utf-8", errors="replace"), str(self.recipe_file))
        difference = first_difference(known, self.recipe.to_plain())
        if difference is not None:
            raise CompressionError(
                f"training.output_dir: {self.path} holds a different run ({difference}); name another folder, or remove it"
            )
        if not resume:
            state = "is finished" if self.compressed.exists() else "was interrupted"
            raise CompressionError(
                f"training.output_dir: {self.path} holds this run already and it {state}; add --resume to continue it, or"
                " remove the folder to start again"
            )

    def open(self) -> None:
        """Make the folder this run's."""
        self.path.mkdir(parents=True, exist_ok=True)
        if not self.recipe_file.exists():
            part = self.path / _PART
            part.write_text(self.recipe.to_yaml(), encoding="utf-8")
            part.rename(self.recipe_file)
        self.tidy()

    def tidy(self) -> None:
        """Remove what a killed run could not remove any more."""
        shutil.rmtree(self.rows, ignore_errors=True)
        if self.dense.exists():
            shutil.rmtree(self.dense_training, ignore_errors=True)


def check_place(path: Path) -> None:
    """Refuse a path where no run can have its folder, whatever its recipe.

    Raises:
        CompressionError: it is a file, cannot be written to, or is a folder with files and no recipe.
    """
    place = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    if not place.is_dir():
        inside = "" if place == path else f", and {path} would lie in it"
        raise CompressionError(f"training.output_dir: {place} is a file{inside}; name a folder")
    if not os.access(place, os.W_OK | os.X_OK):
        raise CompressionError(f"training.output_dir: {place} cannot be written to; name a folder that can")
    if path.exists() and any(file.name != _PART for file in path.iterdir()) and not (path / _RECIPE).is_file():
        raise CompressionError(f"training.output_dir: {path} holds files of something else; name an empty or new folder")


def last_complete_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint whose writing finished; a killed run leaves at most one that did not.

    The Trainer writes trainer_state.json last, so a folder whose state can be read is whole. One without the optimizer's
    state is left out too: a run that goes on from it would not be the run that was interrupted.
    """
    found: list[tuple[int, Path]] = []
    for candidate in folder.glob("checkpoint-*"):
        number = candidate.name.removeprefix("checkpoint-")
        if not number.isdigit():
            continue
        try:
            json.loads((candidate / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            logger.warning("%s was not written to its end and is left out", candidate)
            continue
        if not (candidate / "optimizer.pt").is_file():
            logger.warning(
                "%s has no optimizer state (save_only_model), so going on from it would differ; it is left out", candidate
            )
            continue
        found.append((int(number), candidate))
    return max(found)[1] if found else None


def first_difference(known: Any, wanted: Any, path: str = "") -> str | None:
    """Where two pieces of plain data differ first, as a sentence part; None where they are equal."""
    if isinstance(known, dict) and isinstance(wanted, dict):
        for key in [*wanted, *(key for key in known if key not in wanted)]:
            below = f"{path}.{key}" if path else str(key)
            if key not in known:
                return f"{below} is set here and not there"
            if key not in wanted:
                return f"{below} is set there and not here"
            difference = first_difference(known[key], wanted[key], below)
            if difference is not None:
                return difference
        return None
    return None if known == wanted else f"{path} is {known!r} there and {wanted!r} here"
