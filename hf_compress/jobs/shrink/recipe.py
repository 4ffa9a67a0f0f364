"""A trained model, made smaller at once."""

from dataclasses import dataclass
from typing import Any

from hf_compress.export.push import published
from hf_compress.jobs.shrink.settings import ShrinkSettings


@dataclass(frozen=True, kw_only=True)
class ShrinkModel(ShrinkSettings, name="shrink"):
    """One model, shrunk without training; the keys are those of `ShrinkSettings`."""

    def run(self, resume: bool = False) -> Any:
        """Shrink; it begins again where it was interrupted."""
        from hf_compress.jobs.shrink.run import run_shrink

        done = run_shrink(self)
        return published(done, done.folder, self.export)
