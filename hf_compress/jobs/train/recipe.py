"""The main job: fine-tune, prune, quantize and distil, export, evaluate, report."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hf_compress._problems import Problem, check_all, problems_in
from hf_compress.jobs.train.checks import CHECKS
from hf_compress.jobs.train.settings import TrainSettings
from hf_compress.jobs.train.sources import OPENS

if TYPE_CHECKING:
    from hf_compress.jobs.train.plan import Plan


@dataclass(frozen=True, kw_only=True)
class TrainJob(TrainSettings):
    """How a train recipe is checked and run, whatever it may say."""

    def preflight(self) -> list[Problem]:
        """Everything that a run refuses before it writes: data and its rows, model, targets, schedules, teacher, folder."""
        return problems_in(self._plan)

    def preview(self) -> str:
        """What `shrink` takes out and saves, by counts: which parts go is chosen when the weights are there."""
        removal = self._plan().removal
        return "" if removal is None else removal.describe()

    def scaling(self, processes: int) -> str:
        """Memory and communication of the compression run; see `hf_compress.training.footprint`."""
        from hf_compress.jobs.train.scaling import scaling

        return scaling(self._plan(), processes)

    def planned_steps(self) -> int:
        """Optimizer steps of the last training, of a recipe that has no mistakes."""
        return self._plan().steps

    def _plan(self) -> "Plan":
        from hf_compress.jobs.train.plan import Plan
        from hf_compress.jobs.train.run_folder import RunFolder

        plans: list[Plan] = []
        check_all(lambda: plans.append(Plan.make(self)), lambda: RunFolder(self).check(resume=True))
        return plans[0]

    def run(self, resume: bool = False) -> Any:
        """Do the job; see `hf_compress.jobs.train.run`."""
        from hf_compress.jobs.train.run import run_train

        return run_train(self, resume)


@dataclass(frozen=True, kw_only=True)
class Train(TrainJob, name="train"):
    """One model, trained smaller; the keys are those of `TrainSettings`."""

    checks = CHECKS
    opens = OPENS
