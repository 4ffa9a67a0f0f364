"""How results are measured."""

from dataclasses import dataclass, field

from hf_compress._errors import CompressionError
from hf_compress.evaluation.thresholds import Thresholds
from hf_compress.inputs.sections import _positive
from hf_compress.tasks.metrics.metric import Metric


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How evaluations and the report are measured.

    Attributes:
        metrics: beside the task's own, in the Trainer's evaluations and in the report.
        batch_size: examples at once.
        untrained: also measure the dense model compressed the same way without training.
        verdict: when report and card accept the result.
        examples: how many of the measured inputs the report shows, with what each row answers: texts of your data, which
            are published with it; 0 shows none.
    """

    metrics: tuple[Metric, ...] = ()
    batch_size: int = 16
    untrained: bool = True
    verdict: Thresholds = field(default_factory=Thresholds)
    examples: int = 5

    def __post_init__(self) -> None:
        _positive(self.batch_size, "batch_size")
        if self.examples < 0:
            raise CompressionError(f"examples={self.examples} must be 0 or more")
        given = [key for metric in self.metrics for key in metric.gives]
        twice = next((key for key in given if given.count(key) > 1), None)
        if twice is not None:
            names = " and ".join(metric.name for metric in self.metrics if twice in metric.gives)
            raise CompressionError(f"metrics: {twice!r} is given twice, by {names}; keep one of them")

    @property
    def directions(self) -> dict[str, bool]:
        """What the metrics give, and whether more of it is better."""
        return {key: metric.greater_is_better for metric in self.metrics for key in metric.gives}


def untrained(evaluation: Evaluation) -> None:
    """Refuse a setting of trainings in a job that trains nothing; a check of such jobs.

    Raises:
        CompressionError: it is not what it is by itself.
    """
    if not evaluation.untrained:
        raise CompressionError("evaluation.untrained: this job trains nothing, so there is nothing to leave out; remove it")
