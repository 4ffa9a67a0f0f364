"""What a plan would leave of a model, before any weight is read: counts, shapes and sizes."""

from dataclasses import dataclass
from typing import Any

from hf_compress._errors import CompressionError
from hf_compress._forward.dry_run import skeleton
from hf_compress.architectures.architecture import architecture_of
from hf_compress.pruning.shrink.budget import Within, within
from hf_compress.pruning.shrink.by_counts import by_counts
from hf_compress.pruning.shrink.choice import row_in_words, size_lines, size_of
from hf_compress.pruning.shrink.dimensions import Dimensions, dimensions_of
from hf_compress.pruning.shrink.pieces import Kept
from hf_compress.pruning.shrink.plan import ShrinkPlan


@dataclass(frozen=True, kw_only=True)
class PlannedShrink:
    """A model with its first parts, as many as a plan keeps: which ones stay is another matter.

    Attributes:
        kept: the first of each part, or the layers that the plan names.
        before: the model's counts.
        after: those that the plan leaves.
        built: the model's class with the smaller config, without memory.
        budget: what a budget allows beside the counts that the plan names; None without one.
    """

    kept: Kept
    before: Dimensions
    after: Dimensions
    built: Any
    budget: Within | None = None

    @classmethod
    def of(cls, model: Any, plan: ShrinkPlan) -> "PlannedShrink":
        """See what a plan leaves of a model.

        Args:
            model: perhaps without memory.
            plan: how much stays.

        Raises:
            CompressionError: the model's type is not known, the plan's numbers are not legal for it, or keep all.
        """
        plan.require_parts()
        architecture = architecture_of(model)
        before = dimensions_of(model, architecture)
        kept, built = by_counts(model, architecture, before, plan)
        after = dimensions_of(built, architecture)
        budget = within(model, plan) if plan.has_budget else None
        if after == before and budget is None:
            raise CompressionError(f"nothing goes: {before}, and the plan keeps all of it; ask for less, or leave it out")
        return cls(kept=kept, before=before, after=after, built=built, budget=budget)

    def describe(self, model: Any) -> str:
        """The counts, and parameters, bytes and MACs before and after, in lines.

        Args:
            model: that it was made of.
        """
        if self.budget is not None:
            return f"{self.before}\n{self.budget.describe()}"
        whole = skeleton(model)
        bytes_of_each = [[(name, one.itemsize) for name, one in built.named_parameters()] for built in (whole, self.built)]
        before, after = size_of(whole, bytes_of_each[0]), size_of(self.built, bytes_of_each[1])
        return "\n".join(
            [
                str(self.before),
                f"leaves {self.after.counts_after(self.before)}",
                *size_lines(before, after, row_in_words(whole)),
            ]
        )
