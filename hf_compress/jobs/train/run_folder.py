"""The folder of one run: whose it is, who writes it, what is finished."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from hf_compress import _distributed
from hf_compress._errors import CompressionError
from hf_compress._folders import (
    held,
    is_trial,
    make_folder,
    part_of,
    place_errors,
    refuse_link,
    remove,
    try_place,
    writable_part,
)
from hf_compress._paths import expand
from hf_compress.jobs.train.changes import in_words, result_part, trained_part
from hf_compress.recipe.recipe import Recipe
from hf_compress.recipe.yaml_text import parse_yaml
from hf_compress.training.gathered import GATHERED

logger = logging.getLogger(__name__)

RECIPE = "recipe.yaml"
_PART = "recipe.part"
"""The recipe while it is written."""
_ROWS = ".rows"


class RunFolder:
    """`training.output_dir` of a train recipe.

    Attributes:
        path: the folder itself; checkpoints of the compression run lie in it.
        recipe_file: the canonical recipe; marks the folder as this run's.
        tokenizer: a fresh tokenizer.
        dense: the trained dense model.
        dense_training: its checkpoints while it trains.
        vocabulary: the dense model with the vocabulary that `shrink` leaves, which teaches.
        shrunk: the model that `shrink` leaves, before it is trained.
        compressed: the result, to be published as it is.
        rows: checkpoints that exist only to be measured.
        gathered: a sharded model, while it is put together.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.path = expand(recipe.output_dir, "training.output_dir")  # type: ignore[attr-defined]
        self.recipe_file = self.path / RECIPE
        self.tokenizer = self.path / "tokenizer"
        self.dense = self.path / "dense"
        self.dense_training = self.path / "dense-training"
        self.vocabulary = self.path / "dense-smaller-vocabulary"
        self.shrunk = self.path / "shrunk"
        self.compressed = self.path / "compressed"
        self.rows = self.path / _ROWS
        self.gathered = self.path / GATHERED

    def check(self, resume: bool) -> None:
        """Refuse a folder that is not this run's to write.

        Raises:
            CompressionError: it holds another run, something else, links, or this run and `resume` is not set.
        """
        check_run_place(self.path)
        self._check_links()
        if not self.recipe_file.is_file():
            return
        known = parse_yaml(self.recipe_file.read_text(encoding="utf-8", errors="replace"), str(self.recipe_file))
        wanted = self.recipe.to_plain()
        difference = in_words(trained_part(known), trained_part(wanted))
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
        other = in_words(result_part(known), result_part(wanted))
        if other is not None and self.compressed.exists():
            raise CompressionError(
                f"training.output_dir: {self.compressed} is made already, otherwise ({other}); rename or remove it, and"
                " the same command makes it anew without training"
            )

    def _check_links(self) -> None:
        """What a run writes or removes is no link; a tokenizer, dense model or result that is only read may be one."""
        read = [self.tokenizer, self.dense, self.vocabulary, self.shrunk, self.compressed]
        for path in [
            self.dense_training,
            self.rows,
            self.gathered,
            self.path / _PART,
            *map(part_of, read),
            *self.path.glob("checkpoint-*"),
        ]:
            refuse_link(path)
        for path in [self.path, *read]:
            if not path.exists():
                refuse_link(path)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """The folder is this run's alone while the block runs; it goes again where nothing was written.

        Raises:
            CompressionError: another run is writing it.
        """
        with held(self.path, self.path, "another run") if _distributed.is_main() else contextlib.nullcontext():
            yield

    def open(self) -> None:
        """Make the folder this run's."""
        make_folder(self.path)
        text = self.recipe.to_yaml()
        if not self.recipe_file.exists() or self.recipe_file.read_text(encoding="utf-8") != text:
            part = self.path / _PART
            part.write_text(text, encoding="utf-8")
            part.rename(self.recipe_file)
        self.tidy()

    def tidy(self) -> None:
        """Remove what a killed run could not remove any more."""
        remove(self.rows)
        remove(self.gathered)
        if self.dense.exists():
            remove(self.dense_training)


def check_run_place(path: Path) -> None:
    """Refuse a path where no run can have its folder, whatever its recipe.

    Raises:
        CompressionError: it is a file, cannot be written to, or is a folder with files and no recipe.
    """
    try:
        with place_errors(path):
            known = (path / RECIPE).is_file()
            strange = path.is_dir() and not known and any(not _is_ours(file) for file in path.iterdir())
        if strange:
            raise CompressionError(f"{path} holds files of something else; name an empty or new folder")
        writable_part(path) if known else try_place(path)
    except CompressionError as error:
        raise CompressionError(f"training.output_dir: {error}") from error


def _is_ours(file: Path) -> bool:
    return file.name in (_PART, _ROWS) or is_trial(file)
