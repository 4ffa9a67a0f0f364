"""One graph of all members, in a folder of its own beside them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress._problems import Problem
from hf_compress.checkpoints.export_format import ExportFormat
from hf_compress.checkpoints.exported import TOLERANCE
from hf_compress.checkpoints.weight_files import program_files
from hf_compress.ensembling.modelling.models import Cascade
from hf_compress.ensembling.opened import OpenedMember
from hf_compress.evaluation.finished import load_finished
from hf_compress.export.configuration import GraphExport
from hf_compress.inputs.batches import model_inputs
from hf_compress.jobs.ensemble.fit import Fitted
from hf_compress.tasks.opened import Opened
from hf_compress.tasks.task import Task

ROWS = 256
"""Of the test split, at most, that graph and ensemble are both asked about."""
_WRITING = ("causal_lm", "seq2seq", "speech_seq2seq")


def graph_to_write(export: GraphExport, task: Task) -> list[Problem]:
    """A graph only of what answers in one go, and only where its packages are."""
    if export.format is None:
        return []
    said = ExportFormat.create(export.format).mistake(quantized=False)
    if task.name in _WRITING:
        said = (
            f"a graph is one forward pass without a cache, so it writes no text, which {task.name} is for; leave it out:"
            " the ensemble itself writes"
        )
    return [Problem(path="export.format", message=said)] if said else []


def graph_of_members(opened: Sequence[OpenedMember], export: GraphExport) -> None:
    """Members that exporters take, as their configs have it."""
    said = []
    for number, member in enumerate(opened if export.format is not None else ()):
        config: Any = member.opened.base
        dtype = str(getattr(config, "dtype", None) or "float32").removeprefix("torch.")
        if getattr(config, "quantization_config", None) is not None:
            said.append(f"members.{number}.model: {member.name!r} is quantized, and exporters of transformers take no such")
        elif dtype != "float32":
            said.append(
                f"members.{number}.model: {member.name!r} is stored in {dtype}, in which runtimes of {export.format} do not"
                " compute everywhere, so its graph would answer otherwise than it does; write it with dtype: float32"
            )
    if said:
        raise CompressionError("\n".join(f"{line}, or leave export.format out" for line in said))


@dataclass(frozen=True, kw_only=True)
class Graph:
    """What was written.

    Attributes:
        facts: for the manifest.
        said: a sentence for people.
    """

    facts: Mapping[str, Any]
    said: str


def write_graph(job: Any, fitted: Fitted, opened: Opened, part: Path, out: Path) -> Graph:
    """The graph of the written ensemble, run by its own runtime, and compared on test rows where there are any.

    Args:
        job: the recipe, whose `export.format` says which.
        fitted: what was learned.
        opened: the ensemble's rows.
        part: the ensemble's folder.
        out: what it becomes.

    Raises:
        CompressionError: it cannot be exported, or answers otherwise than the ensemble.
    """
    name = f"graph-{job.export.format}"
    form: Any = ExportFormat.create(job.export.format)
    model: Any = load_finished(opened, str(part))
    batches = []
    if opened.examples:
        rows = opened.examples["test"].select(range(min(ROWS, len(opened.examples["test"]))))
        batches = [model_inputs(batch, model) for batch in job.task.batches(rows, opened.processor, job.batch_size)]
    (part / name).mkdir()
    example = batches[0] if batches else None
    program = form.write_program(model, part / name, model.processor, example, out / name)
    found = _compare(job, fitted, model, form.load(job.task.model_class(), part / name), batches, out / name)
    facts = {
        "format": form.name,
        "folder": name,
        "file_bytes": sum(file.stat().st_size for file in program_files(part / name)),
        "needs": form.needs,
        "asked": program.asked,
        **found,
    }
    return Graph(facts=facts, said=_sentence(facts))


@torch.no_grad()
def _compare(
    job: Any, fitted: Fitted, model: Any, graph: Any, batches: Iterable[Mapping[str, Any]], place: Path
) -> dict[str, Any]:
    """How many rows, how many of them too close to a threshold to compare, the largest difference, the largest output."""
    rows = close = 0
    worst = largest = 0.0
    for inputs in batches:
        wanted, found = model(**inputs), graph(**inputs)
        kept: Any = slice(None)
        rows += len(wanted[0])
        if isinstance(model, Cascade):  # where a row jumps from one member to another, a rounding may decide
            kept = job.fusion.settled(fitted.fused, model.asked(dict(inputs)).cpu())
            close += int((~kept).sum())
        for name, value in wanted.items():
            if isinstance(value, Tensor) and value.is_floating_point():
                own, other = value.cpu()[kept], found[name].cpu()[kept]
                same = (own == other) | (own.isnan() & other.isnan())
                apart = torch.where(same, 0.0, (own - other).abs())
                # A NaN on one side alone is a difference as large as there is.
                worst = max(worst, float(apart.nan_to_num(nan=torch.inf).max()) if apart.numel() else 0.0)
                largest = max(largest, float(own[own.isfinite()].abs().amax()) if own.isfinite().any() else 0.0)
    if worst > TOLERANCE * largest:
        raise CompressionError(
            f"{place}: the graph's outputs for {rows} test rows differ from the ensemble's by {worst:.3g}, and its largest"
            f" is {largest:.3g} ({TOLERANCE:g} of that is tolerated); nothing was kept: write another export.format, or"
            " leave it out"
        )
    return {"rows": rows, "close": close, "difference": worst, "largest": largest}


def _sentence(facts: Mapping[str, Any]) -> str:
    """What there is to say of a graph."""
    if facts["rows"]:
        close = f" {facts['close']} of them are too close to a threshold to be compared." if facts["close"] else ""
        compared = (
            f"answers {facts['rows']} test rows as the ensemble does, within {facts['difference']:.2g} (its largest output"
            f" is {facts['largest']:.3g}).{close}"
        )
    else:
        compared = "answers two made-up batches as the ensemble does; the recipe has no rows to compare them on."
    asked = f" In it {facts['asked']}." if facts["asked"] else ""
    return f"The graph in {facts['folder']} {compared}{asked}"
