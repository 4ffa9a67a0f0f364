"""One member of an ensemble that is trained: a train recipe that may compress nothing, and knows of the other members."""

from dataclasses import dataclass
from typing import Any

import torch

from hf_compress._errors import CompressionError
from hf_compress.inputs.data import check_seed
from hf_compress.inputs.sections import Data
from hf_compress.jobs.train.checks import MEMBER_CHECKS
from hf_compress.jobs.train.recipe import TrainJob
from hf_compress.jobs.train.sources import OPENS


def some_rows_seed(rows_seed: int | None) -> None:
    """A number that generators take."""
    _check(rows_seed, "rows_seed")


def some_bootstrap(bootstrap: int | None) -> None:
    """The same."""
    _check(bootstrap, "bootstrap")


def _check(seed: int | None, name: str) -> None:
    if seed is not None:
        try:
            check_seed(seed)
        except CompressionError as error:
            raise CompressionError(f"{name}: {error}") from error


def rows_to_draw(bootstrap: int | None, data: Data) -> None:
    """A sample is drawn of rows that are there."""
    if bootstrap is not None and data.streaming:
        raise CompressionError(
            "bootstrap: it draws among all training rows, which data.streaming does not know; leave streaming out"
        )


@dataclass(frozen=True, kw_only=True)
class TrainMember(TrainJob, name="train-member"):
    """What `job: train-ensemble` does for each member; the other keys are those of `job: train`.

    Attributes:
        rows_seed: of splits that are cut and rows that are left out, which members share; by default training.seed.
        bootstrap: seed of a sample of the training examples, with replacement and as large as they are; None: all of them.
    """

    rows_seed: int | None = None
    bootstrap: int | None = None

    checks = (*MEMBER_CHECKS, some_rows_seed, some_bootstrap, rows_to_draw)
    opens = OPENS

    @property
    def seed(self) -> int:
        """Of the rows; what the training draws goes by training.seed."""
        return super().seed if self.rows_seed is None else self.rows_seed

    def seen_rows(self, examples: Any) -> tuple[Any, dict[str, str]]:
        """The sample, and how many examples are in it and out of it."""
        drawn: dict[str, str] = {"training seed": str(super().seed)}
        if self.bootstrap is None:
            return examples, drawn
        places = bootstrap_sample(len(examples), self.bootstrap)
        seen = len(set(places))
        said = (
            f"seed {self.bootstrap}: {seen:,} of {len(examples):,} training examples, {len(examples) - seen:,} out of bag"
        )
        return examples.select(places), {**drawn, "bootstrap": said}


def bootstrap_sample(num_rows: int, seed: int) -> list[int]:
    """So many places of rows, drawn with replacement: each row is left out with probability (1 - 1/n)^n, about 0.37.

    Source: Breiman (1996), Bagging Predictors, https://doi.org/10.1007/BF00058655.

    Args:
        num_rows: n.
        seed: the same numbers for the same seed, on every machine.
    """
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(num_rows, (num_rows,), generator=generator).tolist()
