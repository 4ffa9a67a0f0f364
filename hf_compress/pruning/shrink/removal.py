"""All that a recipe takes out of a model: rows of its vocabulary first, then parts of what is left."""

from dataclasses import dataclass
from typing import Any

from hf_compress._errors import CompressionError
from hf_compress._problems import Problem, RecipeError
from hf_compress.inputs.sections import Data
from hf_compress.pruning.shrink.choice import ShrinkChoice
from hf_compress.pruning.shrink.plan import ShrinkPlan
from hf_compress.pruning.shrink.planned import PlannedShrink
from hf_compress.pruning.shrink.planned_vocabulary import PlannedVocabulary
from hf_compress.tasks.opened import Opened


@dataclass(frozen=True, kw_only=True)
class PlannedRemoval:
    """What a plan leaves of a model, before any weight is read.

    Attributes:
        whole: the model without memory.
        vocabulary: the rows that stay; None where all do.
        plan: what is asked of the model behind its vocabulary; None where that is all.
        parts: what this leaves, by counts.
    """

    whole: Any
    vocabulary: PlannedVocabulary | None
    plan: ShrinkPlan | None
    parts: PlannedShrink | None

    @property
    def behind_vocabulary(self) -> Any:
        """The model without memory, and without the rows of its vocabulary that go."""
        return self.whole if self.vocabulary is None else self.vocabulary.opened.skeleton

    @property
    def left(self) -> Any:
        """The model without memory that is left; of a budget, which leaves counts open, the largest."""
        return self.behind_vocabulary if self.parts is None else self.parts.built

    def describe(self) -> str:
        """What goes, and parameters, bytes and MACs before and after, in lines."""
        lines = [] if self.vocabulary is None else [self.vocabulary.describe()]
        if self.parts is not None:
            lines.append(self.parts.describe(self.behind_vocabulary))
        return "\n".join(lines)

    def done(self, choice: ShrinkChoice | None) -> "Removal":
        """What was taken out, once parts are chosen."""
        return Removal(vocabulary=self.vocabulary, choice=choice)


@dataclass(frozen=True, kw_only=True)
class Removal:
    """What was taken out of a model.

    Attributes:
        vocabulary: rows of the vocabulary, where some went.
        choice: parts of the model behind its vocabulary, where some went.
    """

    vocabulary: PlannedVocabulary | None
    choice: ShrinkChoice | None

    def sentences(self) -> tuple[str, ...]:
        """What went, and what that saved."""
        return tuple(one.sentence() for one in (self.vocabulary, self.choice) if one is not None)

    def describe(self) -> str:
        """The same in lines, layer by layer."""
        return "\n".join(one.describe() for one in (self.vocabulary, self.choice) if one is not None)

    def to_plain(self) -> dict[str, Any]:
        """As plain data, for manifests."""
        plain = {} if self.choice is None else self.choice.to_plain()
        if self.vocabulary is None:
            return plain
        choice = self.vocabulary.choice
        return {**plain, "vocabulary": {"rows_before": choice.rows_before, "kept": list(choice.kept)}}


def planned_by_recipe(
    model: Any, plan: ShrinkPlan, opened: Opened | None = None, data: Data | None = None, seed: int = 0
) -> PlannedRemoval:
    """What a recipe's `shrink` leaves.

    Args:
        model: without memory.
        plan: the recipe's.
        opened: the recipe's inputs, with examples where rows of the vocabulary go.
        data: where their rows come from.
        seed: the recipe's.

    Raises:
        RecipeError: at `shrink`, or `shrink.vocabulary`; see `PlannedShrink.of` and `PlannedVocabulary.of`.
    """
    vocabulary, rest, where = None, plan.parts, "shrink"
    try:
        if plan.vocabulary is not None and opened is not None and data is not None:
            where = "shrink.vocabulary"
            vocabulary = PlannedVocabulary.of(opened, plan.vocabulary, data, seed)
            rest, where = vocabulary.rest(plan), "shrink"
        left = model if vocabulary is None else vocabulary.opened.skeleton
        parts = None if rest is None else PlannedShrink.of(left, rest)
    except RecipeError:
        raise
    except CompressionError as error:
        behind = "" if vocabulary is None or where != "shrink" or rest is None else vocabulary.budgets(plan, rest)
        raise RecipeError([Problem(path=where, message=f"{error}{behind}")]) from error
    return PlannedRemoval(whole=model, vocabulary=vocabulary, plan=rest, parts=parts)
