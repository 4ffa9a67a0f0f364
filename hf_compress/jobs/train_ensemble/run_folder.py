"""The folder of an ensemble that is trained: whose it is, and what is finished."""

import contextlib
from collections.abc import Iterator
from typing import Any

from hf_compress._difference import MISSING, first_difference
from hf_compress._errors import CompressionError
from hf_compress._folders import held, make_folder, part_of, place_errors, refuse_link, try_place, writable_part
from hf_compress._paths import expand
from hf_compress._yaml import write_yaml
from hf_compress.recipe.yaml_text import parse_yaml

RECIPE = "recipe.yaml"
_PART = "recipe.part"
"""The recipe while it is written."""
_FREE = ("output_dir", "workers")
"""Keys that change nothing of the result."""


class EnsembleFolder:
    """`output_dir` of a recipe that trains an ensemble.

    Attributes:
        path: the folder itself.
        members: gets a folder for each member, as `job: train` leaves it.
        ensemble: the result, as `job: ensemble` leaves it.
    """

    def __init__(self, output_dir: str) -> None:
        self.path = expand(output_dir, "output_dir")
        self.recipe_file = self.path / RECIPE
        self.members = self.path / "members"
        self.ensemble = self.path / "ensemble"

    def check_place(self) -> None:
        """Refuse a place where no run can have its folder.

        Raises:
            CompressionError: at `output_dir`.
        """
        try:
            with place_errors(self.path):
                known = self.recipe_file.is_file()
                strange = self.path.is_dir() and not known and any(file.name != _PART for file in self.path.iterdir())
            if strange:
                raise CompressionError(f"{self.path} holds files of something else; name an empty or new folder")
            writable_part(self.path) if known else try_place(self.path)
            for place in (self.path / _PART, self.members, self.ensemble, part_of(self.ensemble)):
                refuse_link(place)
        except CompressionError as error:
            raise CompressionError(f"output_dir: {error}") from error

    def check_recipe(self, plain: dict[str, Any], resume: bool) -> None:
        """Refuse a folder that holds another run, or this one where it is not to go on.

        Args:
            plain: the recipe with the members' in it.
            resume: it may go on.

        Raises:
            CompressionError: at `output_dir`, with the first key that differs.
        """
        if not self.recipe_file.is_file():
            return
        known = parse_yaml(self.recipe_file.read_text(encoding="utf-8", errors="replace"), str(self.recipe_file))
        done = self.ensemble.exists()
        free = _FREE if done else (*_FREE, "ensemble")  # which may change until it is made
        difference = first_difference(_without(known, free), _without(plain, free))
        if difference is not None:
            path, there, here = difference
            words = (
                f"{path} is set here and not there"
                if there is MISSING
                else f"{path} is set there and not here"
                if here is MISSING
                else f"{path} is {there!r} there and {here!r} here"
            )
            raise CompressionError(
                f"output_dir: {self.path} holds a different run ({words}); name another folder, or remove it"
            )
        if not resume:
            raise CompressionError(
                f"output_dir: {self.path} holds this run already and it {'is finished' if done else 'was interrupted'}; add"
                " --resume to continue it, or remove the folder to start again"
            )

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """The folder is this run's alone while the block runs.

        Raises:
            CompressionError: another run is writing it.
        """
        with held(self.path, self.path, "another run"):
            yield

    def open(self, plain: dict[str, Any]) -> None:
        """Make the folder this run's."""
        make_folder(self.members)
        part = self.path / _PART
        part.write_text(write_yaml(plain), encoding="utf-8")
        part.rename(self.recipe_file)


def _without(plain: Any, keys: tuple[str, ...]) -> Any:
    return {key: value for key, value in plain.items() if key not in keys} if isinstance(plain, dict) else plain
