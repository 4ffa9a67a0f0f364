"""The report of finished models: their rows, and what was made sure of about the numbers."""

from dataclasses import dataclass, field
from typing import Any

from hf_compress.evaluation.rows import Report


@dataclass(frozen=True, kw_only=True)
class EvaluationReport(Report):
    """A report whose rows are the models that were measured, a baseline first.

    Attributes:
        directions: what was measured -> whether more of it is better.
        recipe: what was asked for, in canonical form.
    """

    directions: dict[str, bool] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
