"""What data-aware merge methods need to know of a model."""

from dataclasses import dataclass
from typing import Any, Literal

from hf_compress._errors import CompressionError
from hf_compress.recipe.problems import Problem, problems_in
from hf_compress.recipe.recipes import Recipe
from hf_compress.recipe.sections import Data


@dataclass(frozen=True, kw_only=True)
class CollectStatistics(Recipe, name="collect-statistics"):
    """Run a trained model over training examples and write its statistics under the names of its checkpoint.

    Attributes:
        model: a folder or Hub id.
        task: a row of the task table.
        data: where examples come from; `max_train` says how many rows.
        statistics: "fisher" (one example at a time, a backward pass per class or token model) and "gram".
        labels: whose y the Fisher takes: "expected" over the classes (classifiers), "sampled" from the model, or "true".
        batch_size: examples at once, for gram matrices.
        output_dir: gets a folder for each statistic; must not exist.
        seed: of the choice of rows and of "sampled".
    """

    model: str
    task: Literal["causal_lm", "sequence_classification", "image_classification"]
    data: Data
    statistics: tuple[Literal["fisher", "gram"], ...] = ("fisher",)
    labels: Literal["expected", "sampled", "true"] | None = None
    batch_size: int = 16
    output_dir: str
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.statistics:
            raise CompressionError("statistics is empty; name fisher, gram or both")
        if self.batch_size < 1:
            raise CompressionError(f"batch_size={self.batch_size} must be 1 or more")
        if self.task == "causal_lm" and self.labels == "expected":
            raise CompressionError("labels='expected' sums over classes, and causal_lm has none; write sampled or true")

    def preflight(self) -> list[Problem]:
        """What is wrong with the data, the model or the folder."""
        from hf_compress.recipe.statistics_run import open_inputs

        return problems_in(lambda: open_inputs(self))

    def run(self, resume: bool = False) -> Any:
        """Collect and write them; there is nothing to resume."""
        from hf_compress.recipe.statistics_run import run_statistics

        return run_statistics(self)
