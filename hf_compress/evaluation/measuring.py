"""How a job measures the models that it makes of one another, and the report that this becomes."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from hf_compress._provenance import describe_machine
from hf_compress.checkpoints.export_format import ExportFormat
from hf_compress.evaluation.configuration import Evaluation
from hf_compress.evaluation.measure import measure_folder, without_intervals
from hf_compress.evaluation.other_tokens import TokenCounts
from hf_compress.evaluation.rows import Example, Report, Row
from hf_compress.inputs.measured_rows import measured_rows
from hf_compress.inputs.sections import Data
from hf_compress.inputs.streams import is_stream
from hf_compress.tasks.opened import Opened
from hf_compress.tasks.shown import Shown


@dataclass
class Measuring:
    """Rows of one report, on the test split of one recipe.

    Attributes:
        opened: model, data and task.
        evaluation: what is measured.
        device: where.
        dense: the same for the dense model, where that has a tokenizer of its own.
        shown: the first inputs, once a row is measured.
        notes: sentences about rows.
    """

    opened: Opened
    evaluation: Evaluation
    device: torch.device
    dense: Opened | None = None
    shown: list[Shown] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def row(self, folder: Path, name: str, form: ExportFormat, **facts: Any) -> Row:
        """Load a checkpoint and measure it; see `measure_folder`."""
        return measure_folder(
            self.opened,
            folder,
            name,
            form,
            batch_size=self.evaluation.batch_size,
            device=self.device,
            metrics=self.evaluation.metrics,
            num_shown=self.evaluation.examples,
            shown=lambda found: self.shown.extend(found[len(self.shown) :]),
            **facts,
        )

    def dense_row(self, folder: Path, form: ExportFormat, **facts: Any) -> Row:
        """The row of the dense model; what it says per token of its own is told per token of the others."""
        if self.dense is None:
            return self.row(folder, "dense", form, **facts)
        # Beginnings of texts are cut by tokens, so its own would be of other lengths.
        examples = 0 if self.dense.task.predicts is None else self.evaluation.examples
        own = Measuring(self.dense, dataclasses.replace(self.evaluation, examples=examples), self.device)
        row, counts = own.row(folder, "dense", form, **facts), TokenCounts.of(self.dense, self.opened)
        self.notes.append(counts.note(row))
        return counts.per_other_token(row)

    def report(
        self,
        title: str,
        data: Data,
        rows: Sequence[Row],
        setting: Mapping[str, Any],
        *,
        sparsity: float | None = None,
        **facts: Any,
    ) -> Report:
        """The report of the rows.

        Args:
            title: the result's name.
            data: where the rows were read.
            rows: dense first.
            setting: what the job adds to task, data and machine.
            sparsity: that the result is to have, where the recipe says no other.
            **facts: other fields of the report.
        """
        opened, evaluation = self.opened, self.evaluation
        task, verdict = opened.task, evaluation.verdict
        also = {key: greater for key, greater in evaluation.directions.items() if key != task.metric}
        sizes = ", ".join(
            f"a stream of {name}" if is_stream(split) else f"{len(split):,} {name}"
            for name, split in opened.examples.items()
        )
        return Report(
            title=title,
            metric=task.metric,
            greater_is_better=task.greater_is_better,
            rows=tuple(rows),
            setting={
                "task": task.name,
                "data": f"{data.path} ({sizes} {task.unit})",
                **opened.facts,
                **setting,
                **describe_machine(self.device),
            },
            also=also,
            thresholds=verdict if verdict.sparsity is not None else dataclasses.replace(verdict, sparsity=sparsity),
            chance=task.chance(opened.raw["test"], opened.config),
            measured=measured_rows(data, opened.raw["test"], task.columns()),
            examples=tuple(Example(input=one.input, expected=one.expected) for one in self.shown),
            notes=(*self.notes, *without_intervals((task.metric, *also), rows)),
            **facts,
        )
