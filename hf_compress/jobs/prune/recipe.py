"""A trained model, pruned at once."""

from dataclasses import dataclass
from typing import Any

from hf_compress.export.push import published
from hf_compress.jobs.prune.settings import PruneSettings


@dataclass(frozen=True, kw_only=True)
class PruneModel(PruneSettings, name="prune"):
    """One model, pruned without training; the keys are those of `PruneSettings`."""

    def run(self, resume: bool = False) -> Any:
        """Prune; it begins again where it was interrupted."""
        from hf_compress.jobs.prune.run import run_prune

        done = run_prune(self)
        return published(done, done.folder, self.export)
