"""The main job: fine-tune, prune, quantize and distil, export, evaluate, report."""

from dataclasses import dataclass
from typing import Any

from hf_compress._problems import Problem, problems_in
from hf_compress.jobs.train.checks import CHECKS
from hf_compress.jobs.train.settings import TrainSettings
from hf_compress.jobs.train.sources import OPENS


@dataclass(frozen=True, kw_only=True)
class Train(TrainSettings, name="train"):
    """One model, trained smaller; the keys are those of `TrainSettings`."""

    checks = CHECKS
    opens = OPENS

    def preflight(self) -> list[Problem]:
        """Everything that a run refuses before it writes: data and its rows, model, targets, schedules, teacher, folder."""
        from hf_compress.jobs.train.plan import Plan
        from hf_compress.jobs.train.run_folder import RunFolder

        return problems_in(
            lambda: Plan.make(self),
            lambda: RunFolder(self).check(resume=True),
        )

    def run(self, resume: bool = False) -> Any:
        """Do the job; see `hf_compress.jobs.train.run`."""
        from hf_compress.jobs.train.run import run_train

        return run_train(self, resume)

    def scaling(self, processes: int) -> str:
        """Memory and communication of the compression run; see `hf_compress.training.footprint`."""
        from hf_compress.jobs.train.plan import Plan
        from hf_compress.jobs.train.scaling import scaling

        return scaling(Plan.make(self), processes)
