"""What the job finds, as a value, as text and as files."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_compress._paths import in_public, public_names
from hf_compress._registry import dump
from hf_compress._yaml import write_yaml
from hf_compress.evaluation.report import markdown_table
from hf_compress.jobs.sensitivity.settings import SensitivitySettings
from hf_compress.pruning.allocations.per_layer import PerLayer
from hf_compress.pruning.sensitivity import Metrics, Sensitivity, in_json

_FORMAT = 1
_SHOWN = 10
"""Groups that the command line names."""
_SAME = 1e-3
"""By how much two sparsities may differ that are to be the same."""
FILES = ("sensitivity.json", "sensitivity.md", "sensitivity.png")
ALLOCATION, RECIPE = "allocation.yaml", "prune.yaml"


@dataclass(frozen=True, kw_only=True)
class Found:
    """An allocation, and what it is worth.

    Attributes:
        allocation: the sparsity of each layer.
        predicted: by how much the loss should rise, if what layers cost added up.
        compared: split -> "dense", "uniform" and "found" -> metrics, pruned to the same overall sparsity.
        reached: "uniform" and "found" -> the share of zeros that came out: the same but for rounding, of few weights or of
            weights that go together.
    """

    allocation: PerLayer
    predicted: float
    compared: dict[str, dict[str, Metrics]]
    reached: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class SensitivityResult:
    """What the job left behind.

    Attributes:
        folder: of the files.
        measured: each group by itself.
        sparsity: the overall one that an allocation was looked for.
        found: None where the pattern leaves nothing to share out.
    """

    folder: Path
    measured: Sensitivity
    sparsity: float
    found: Found | None

    def shares(self) -> list[float] | None:
        """The sparsity of each group, in their order."""
        if self.found is None:
            return None
        known = self.found.allocation.sparsities
        return [known[next(iter(curve.sizes))] for curve in self.measured.curves]

    def table(self, most: int | None = None) -> str:
        """A row for each group: its weights, what it costs, what it is given.

        Args:
            most: only so many, of those that cost the most at the overall sparsity or what is next to it.
        """
        curves, dense = self.measured.curves, self.measured.dense[self.measured.loss]
        costs = [[metrics[self.measured.loss] - dense for metrics in curve.points.values()] for curve in curves]
        at = min(range(len(costs[0])), key=lambda place: abs(list(curves[0].points)[place] - self.sparsity))
        order = sorted(range(len(curves)), key=lambda place: -costs[place][at])[:most]
        places = list(range(len(curves))) if most is None else order
        columns = {
            "pruned alone": [curves[place].name for place in places],
            "weights": [f"{curves[place].num_weights:,}" for place in places],
            **{
                f"{self.measured.loss} at {sparsity:g}": [f"{costs[place][column]:+.4f}" for place in places]
                for column, sparsity in enumerate(curves[0].points)
            },
        }
        shares = self.shares()
        if shares is not None:
            columns[f"given, for {self.sparsity:g}"] = [f"{shares[place]:.4f}" for place in places]
        return markdown_table(columns)

    @property
    def _has_more(self) -> bool:
        return len(self.measured.curves) > _SHOWN

    def sentences(self) -> list[str]:
        """What the allocation is worth on rows that it was not found on."""
        if self.found is None:
            return ["The pattern fixes the sparsity of every layer, so there is no allocation to look for."]
        loss = self.measured.loss
        test = {name: metrics[loss] for name, metrics in self.found.compared["test"].items()}
        numbers = f"{test['found']:.4f}, uniform {test['uniform']:.4f}, dense {test['dense']:.4f}"
        return [
            f"All layers pruned, {self._overall()}: test {loss} with this allocation {numbers}; {self._verdict(test)}.",
            f"If what layers cost alone added up, {loss} would be {self.found.predicted:.4f} above the dense one.",
        ]

    def _overall(self) -> str:
        """The sparsity that both came to, or those that each of them did."""
        assert self.found is not None
        found, uniform = self.found.reached["found"], self.found.reached["uniform"]
        if max(abs(found - self.sparsity), abs(uniform - self.sparsity)) < _SAME:
            return f"{self.sparsity:g} overall"
        return f"{found:.4f} overall with this allocation and {uniform:.4f} with uniform, for {self.sparsity:g}"

    def _verdict(self, test: dict[str, float]) -> str:
        """Which of both is better; a loss that is no number is the worst there is."""
        assert self.found is not None
        if abs(self.found.reached["found"] - self.found.reached["uniform"]) >= _SAME:
            return "that is no comparison, because one prunes more than the other"
        if not math.isfinite(test["found"]):
            return "it cannot be used"
        if not test["found"] >= test["uniform"]:
            return "it is better than uniform"
        return "it is not better than uniform: leave it out"

    def summary(self) -> str:
        """What the command line says at the end."""
        said = [
            self.table(_SHOWN),
            *([f"({_SHOWN} of {len(self.measured.curves)}, those that cost the most)"] if self._has_more else []),
            "",
            *self.sentences(),
            "",
            f"all layers      {self.folder / FILES[1]}, {FILES[2]}, {FILES[0]}",
        ]
        if self.found is not None:
            said.append(f"allocation      {self.folder / ALLOCATION}; a recipe that prunes with it: {self.folder / RECIPE}")
        return "\n".join(said)


def write_result(result: SensitivityResult, job: SensitivitySettings, setting: dict[str, Any], folder: Path) -> None:
    """sensitivity.json, .md and .png, allocation.yaml and prune.yaml into `folder`.

    Args:
        result: what was found.
        job: what was asked for.
        setting: what it was measured on.
        folder: to write into.
    """
    from hf_compress.evaluation.sensitivity_plot import plot_sensitivity

    names = public_names(job.to_plain())
    found = result.found
    plain = {
        "format": _FORMAT,
        "sparsity": result.sparsity,
        **result.measured.to_plain(),
        "found": None if found is None else _plain(found),
        "setting": in_public(setting, names),
        "recipe": in_public(job.to_plain(full=True), names),
    }
    (folder / FILES[0]).write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")
    said = "\n".join(f"- {key}: {value}" for key, value in plain["setting"].items())
    text = (
        f"# What layers cost\n\n{' '.join(result.sentences())}\n\n{result.table()}\n\n"
        f"One group of layers was pruned at a time, and {result.measured.loss} measured on the validation split.\n\n"
        f"![cost of each group](sensitivity.png)\n\n## Setting\n\n{said}\n"
    )
    (folder / FILES[1]).write_text(text, encoding="utf-8")
    by = f"{job.pruning.criterion.name}, {job.pruning.pattern.name}, by {job.group}"
    plot_sensitivity(result.measured, result.shares(), result.sparsity, by, folder / FILES[2])
    if found is not None:
        value = {"allocation": dump(found.allocation)}
        head = f"# Goes into the section `pruning` of a recipe that prunes to {result.sparsity:g}.\n"
        (folder / ALLOCATION).write_text(head + write_yaml(value), encoding="utf-8")
        (folder / RECIPE).write_text(write_yaml(_pruning(job, found.allocation)), encoding="utf-8")


def _plain(found: Found) -> dict[str, Any]:
    """For a file."""
    compared = {split: {name: in_json(one) for name, one in known.items()} for split, known in found.compared.items()}
    return {**vars(found), "allocation": dump(found.allocation), "compared": compared}


def _pruning(job: SensitivitySettings, allocation: PerLayer) -> dict[str, Any]:
    """A recipe that prunes by what was found."""
    known = job.to_plain()
    kept: dict[str, Any] = {key: known[key] for key in ("model", "task", "data", "calibration", "seed") if key in known}
    pruning = {**dump(job.pruning), "allocation": dump(allocation)}
    if "batch_size" in known:
        kept["evaluation"] = {"batch_size": job.batch_size}
    return {"job": "prune", **kept, "pruning": pruning, "output_dir": f"{job.output_dir.rstrip('/')}-pruned"}
