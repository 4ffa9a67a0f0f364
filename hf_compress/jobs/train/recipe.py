"""The main job: fine-tune, prune, quantize and distil, export, evaluate, report."""

from dataclasses import dataclass
from typing import Any

from hf_compress._problems import Problem, problems_in
from hf_compress.jobs.train.checks import find_problems
from hf_compress.jobs.train.settings import TrainSettings


@dataclass(frozen=True, kw_only=True)
class Train(TrainSettings, name="train"):
    """One model, trained smaller; the keys are those of `TrainSettings`."""

    @classmethod
    def section_problems(cls, parts: dict[str, Any]) -> list[Problem]:
        """See `hf_compress.jobs.train.checks`."""
        return find_problems(parts)

    @classmethod
    def source_problems(cls, parts: dict[str, Any]) -> list[Problem]:
        """See `hf_compress.jobs.train.sources`."""
        from hf_compress.jobs.train.sources import source_problems

        return source_problems(parts)

    def preflight(self) -> list[Problem]:
        """Everything that can be found without training: data, columns, model, targets, teacher, folder."""
        from hf_compress.jobs.train.plan import Plan
        from hf_compress.jobs.train.run_folder import RunFolder

        return problems_in(
            lambda: Plan.make(self, with_examples=False),
            lambda: RunFolder(self).check(resume=True),
        )

    def run(self, resume: bool = False) -> Any:
        """Do the job; see `hf_compress.jobs.train.run`."""
        from hf_compress.jobs.train.run import run_train

        return run_train(self, resume)
