"""The base of every recipe: loading, canonical text."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from hf_compress._errors import CompressionError
from hf_compress._problems import Problem, RecipeError, problems_in, problems_of
from hf_compress._registry import Strategy, dump, unknown
from hf_compress._secrets import refuse_secrets
from hf_compress._yaml import write_yaml
from hf_compress.recipe.build import build_fields
from hf_compress.recipe.checks import Checked, checks_of, find_problems, open_parts
from hf_compress.recipe.foreign import foreign_kind, is_mergekit
from hf_compress.recipe.items import problems_beside
from hf_compress.recipe.yaml_text import read_recipe


@dataclass(frozen=True, kw_only=True)
class Recipe(Strategy, Checked, kind="job", package="hf_compress.jobs"):
    """One job as a value. Subclasses are the jobs; their fields are the keys of the YAML, and they say what can be wrong.

    See `hf_compress.recipe.checks` for `checks` and `opens`.

    Attributes:
        after_interruption: what the command line says then is to be done.
    """

    after_interruption: ClassVar[str] = "the same command with --resume goes on"

    @classmethod
    def load(cls, path: str | Path, overrides: Sequence[str] = (), *, sources: bool = False) -> Self:
        """Read and check a recipe file.

        Args:
            path: a YAML file.
            overrides: "a.b=value" each.
            sources: see `from_plain`.

        Raises:
            RecipeError: with every problem at once.
        """
        return cls.from_plain(read_recipe(path, overrides), sources=sources)

    @classmethod
    def from_plain(cls, data: dict[str, Any], *, sources: bool = False) -> Self:
        """A recipe from plain data; `job` says which.

        Args:
            data: a recipe's mapping.
            sources: where the recipe has mistakes, also open what its right sections name, so that the refusal is complete;
                a recipe without mistakes opens it when it runs.

        Raises:
            RecipeError: with every problem at once.
        """
        problems: list[Problem] = problems_in(lambda: refuse_secrets(data))
        if problems:  # alone, because other refusals quote what they refuse
            raise RecipeError(problems)
        arguments = dict(data)
        name = arguments.pop("job", None)
        jobs = cls.available()
        if not isinstance(name, str) or name not in jobs:
            message = unknown("job", name, jobs) if isinstance(name, str) else f"is missing (known: {', '.join(jobs)})"
            if is_mergekit(data):
                message = (
                    "this is a mergekit configuration; write hf-compress merge FILE OUT, with --check to only check it"
                )
            message = foreign_kind(data) or message
            raise RecipeError([Problem(path="job", message=message)])
        job = jobs[name]
        checks, opens = checks_of(job)
        parts = build_fields(job, arguments, "", problems)
        if problems:
            beside = problems_beside(job, arguments, problems, checks)
            problems.extend([*find_problems(checks, parts), *beside])
        else:
            try:
                return job(**parts)  # type: ignore[return-value]
            except CompressionError as error:
                problems = problems_of(error)
        if sources:
            problems.extend(open_parts(opens, parts)[1])
        raise RecipeError(list(dict.fromkeys(problems)))

    def to_plain(self, full: bool = False) -> dict[str, Any]:
        """Plain data that `from_plain` reads back to an equal recipe."""
        data: dict[str, Any] = {"job": self.name}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is None and field.default is None:
                continue
            if not full and field.default_factory is not dataclasses.MISSING and value == field.default_factory():
                continue
            data[field.name] = dump(value, full)
        return json.loads(json.dumps(data))  # type: ignore[no-any-return]

    def to_yaml(self) -> str:
        """The canonical text: `job` first, fields in order, defaults left out.

        An optional section stays even where it says nothing: `pruning: {}` prunes by defaults, no `pruning` does not prune.
        """
        return write_yaml(self.to_plain())

    def fingerprint(self) -> str:
        """A short hash of the canonical recipe."""
        return hashlib.sha256(self.to_yaml().encode()).hexdigest()[:12]

    def run(self, resume: bool = False) -> Any:
        """Do the job."""
        raise TypeError(f"{type(self).__name__} defines no run()")

    def preflight(self) -> list[Problem]:
        """What is wrong with the recipe against the files and models it names, found without training or writing."""
        return problems_in(self.open)

    def preview(self) -> str:
        """What the job is about to do to what it names, in lines; empty for a job that has nothing to add to its recipe.

        Raises:
            RecipeError: with all that `preflight` finds.
        """
        problems = self.preflight()
        if problems:
            raise RecipeError(problems)
        return ""

    def scaling(self, processes: int) -> str:
        """What the job would take in each of so many processes, as a table.

        Raises:
            CompressionError: the job runs in one process.
            RecipeError: with all that `preflight` finds.
        """
        raise CompressionError(f"--world-size: a job {self.name!r} runs in one process; leave it out")
