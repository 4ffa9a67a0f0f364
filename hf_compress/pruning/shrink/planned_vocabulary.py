"""The vocabulary that a recipe's training rows use, and the recipe's inputs with it; no weight is read."""

import contextlib
import copy
import dataclasses
import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy

from hf_compress._errors import CompressionError
from hf_compress._forward.dry_run import skeleton
from hf_compress._units import share_of
from hf_compress.inputs import models
from hf_compress.inputs.pretrained import from_pretrained
from hf_compress.inputs.sections import Data
from hf_compress.inputs.tokenizers import tokenizer_of
from hf_compress.pruning.shrink.choice import Size, row_in_words, size_lines, size_of
from hf_compress.pruning.shrink.plan import ShrinkPlan, UsedVocabulary
from hf_compress.pruning.shrink.vocabulary_choice import (
    VocabularyChoice,
    check_rewritable,
    choose_vocabulary,
    config_without_rows,
)
from hf_compress.tasks.opened import Opened
from hf_compress.tasks.prepared import prepare_examples

logger = logging.getLogger(__name__)

_AT_ONCE = 1000
"""Examples that are read together."""


@dataclass(frozen=True, kw_only=True)
class PlannedVocabulary:
    """A smaller vocabulary, and what it makes of a recipe's inputs.

    Attributes:
        choice: which rows stay.
        opened: the inputs with its tokenizer, config and examples; their model is still the whole one.
        before: the model's size.
        after: that of the model without the rows.
        row: the row that MACs are counted for, in words.
    """

    choice: VocabularyChoice
    opened: Opened
    before: Size
    after: Size
    row: str

    @classmethod
    def of(cls, opened: Opened, asked: UsedVocabulary, data: Data, seed: int) -> "PlannedVocabulary":
        """Read which pieces the training examples are made of, and make all examples anew without the others.

        Args:
            opened: with examples.
            asked: the recipe's.
            data: the recipe's.
            seed: the recipe's, of what is drawn of the data.

        Raises:
            CompressionError: the task has no tokens, the tokenizer cannot be rewritten, or all rows are used.
        """
        task, tokenizer = opened.task, tokenizer_of(opened.processor)
        if not task.token_columns or tokenizer is None:
            raise CompressionError(f"{task.name} has no tokens whose rows could be counted; leave it out")
        assert opened.skeleton is not None
        check_rewritable(tokenizer, opened.skeleton, asked.keep)
        used = used_ids(opened.examples["train"], task.token_columns)
        choice = choose_vocabulary(tokenizer, opened.skeleton, _configs(opened), used, asked.keep)
        if len(choice.kept) == choice.rows_before:
            raise CompressionError(
                f"nothing goes: the training rows, and what every text needs, use all {choice.rows_before:,} rows; leave it"
                " out"
            )
        small = _with(opened, choice, data, seed)
        other = written_otherwise(opened.examples["train"], small.examples["train"], task.token_columns, choice.kept)
        if other:
            # Of a text that is cut only what is left of its last word was seen.
            logger.warning(
                "%s of %s training %s are other tokens with the smaller vocabulary: of a word that is cut the pieces that"
                " are left stay, and not all that the word is made of",
                f"{other:,}",
                f"{len(opened.examples['train']):,}",
                task.unit,
            )
        assert small.skeleton is not None
        whole, left = skeleton(opened.skeleton), skeleton(small.skeleton)
        sizes = [size_of(one, [(name, item.itemsize) for name, item in one.named_parameters()]) for one in (whole, left)]
        found = cls(choice=choice, opened=small, before=sizes[0], after=sizes[1], row=row_in_words(whole))
        logger.info("%s", found.sentence())
        return found

    def sentence(self) -> str:
        """How many rows stay, and what that saves."""
        return f"{self.choice}, which the training rows use; {'; '.join(self._sizes())}"

    def describe(self) -> str:
        """The same in lines."""
        return "\n".join([f"{self.choice}, which the training rows use", *self._sizes()])

    def _sizes(self) -> list[str]:
        return size_lines(self.before, self.after, self.row)

    def rest(self, plan: ShrinkPlan) -> ShrinkPlan | None:
        """What is asked of the model behind its vocabulary, of whose size a budget is still a share.

        Raises:
            CompressionError: the smaller vocabulary alone is within the budget.
        """
        rest = plan.parts
        if rest is None:
            return None
        shares = {}
        for what in ("parameters", "macs"):
            asked, before, after = (getattr(one, what) for one in (rest, self.before, self.after))
            if asked is None or not before or not after:
                continue
            shares[what] = share_of(asked) * before / after
            if shares[what] >= 1:
                raise CompressionError(
                    f"{what}={asked} allows {share_of(asked) * before:,.0f}, and the smaller vocabulary alone leaves"
                    f" {after:,}; leave {what} out, or allow less"
                )
        # Rounded down, so that what is left is within the budget.
        return dataclasses.replace(rest, **{what: math.floor(share * 1e6) / 1e6 for what, share in shares.items()})

    def budgets(self, plan: ShrinkPlan, rest: ShrinkPlan) -> str:
        """What shares behind the vocabulary are of the whole model, for refusals; empty without a budget.

        Args:
            plan: the recipe's.
            rest: what `rest` made of it.
        """
        words = [
            f"{what}={getattr(rest, what)} of what the smaller vocabulary leaves is {getattr(plan, what)} of the whole"
            for what in ("parameters", "macs")
            if getattr(plan, what) is not None
        ]
        return f" ({', '.join(words)})" if words else ""


def written_otherwise(before: Any, after: Any, columns: tuple[str, ...], kept: tuple[int, ...]) -> int:
    """How many examples are other tokens than they were, of those that there are of both.

    Args:
        before: a dataset.
        after: the same made with the smaller vocabulary.
        columns: those with lists of ids.
        kept: id afterwards -> before.
    """
    ids, count = numpy.array(kept), min(len(before), len(after))
    others: set[int] = set()
    for column in columns:
        pairs = zip(*(_lists(one.select(range(count)), column) for one in (before, after)), strict=True)
        for place, (old, new) in enumerate(pairs):
            if not numpy.array_equal(old, numpy.where(new < 0, new, ids[numpy.maximum(new, 0)])):
                others.add(place)
    return len(others)


def _lists(examples: Any, column: str) -> Iterator[Any]:
    """The lists of a column, one after the other."""
    for batch in examples.select_columns([column]).with_format("arrow").iter(_AT_ONCE):
        rows = batch[column].combine_chunks()
        flat, ends = rows.flatten().to_numpy(zero_copy_only=False), numpy.cumsum(rows.value_lengths().to_numpy())
        yield from numpy.split(flat, ends[:-1])


def used_ids(examples: Any, columns: tuple[str, ...]) -> set[int]:
    """The token ids that examples are made of; -100 is none.

    Args:
        examples: a dataset.
        columns: those with lists of ids.
    """
    import pyarrow.compute

    used: set[int] = set()
    for batch in examples.select_columns(list(columns)).with_format("arrow").iter(_AT_ONCE):
        for column in columns:
            ids = pyarrow.compute.list_flatten(batch[column])
            used.update(index for index in ids.unique().to_pylist() if index >= 0)
    return used


def _configs(opened: Opened) -> Iterator[tuple[str, Any]]:
    """What names ids: the config, and the generation config where the checkpoint has one."""
    from transformers import GenerationConfig

    yield "config", opened.config
    if isinstance(opened.model, str):
        with contextlib.suppress(CompressionError):
            yield "generation_config", from_pretrained(GenerationConfig, opened.model, "model")


def _with(opened: Opened, choice: VocabularyChoice, data: Data, seed: int) -> Opened:
    """The inputs as if the model had always had this vocabulary."""
    task = opened.task
    small = copy.copy(opened)
    small.processor = choice.tokenizer
    if tokenizer_of(opened.processor) is not opened.processor:  # inside a processor, which is shared otherwise
        small.processor = copy.copy(opened.processor)
        small.processor.tokenizer = choice.tokenizer
    task.finish_processor(small.processor, fresh=False)
    small.config = config_without_rows(opened.config, choice)
    small.skeleton = models.skeleton(task.model_class(), small.config)
    task.check_config(small.config, small.processor)
    small.examples, facts = prepare_examples(task, data, opened.raw, small.processor, opened.labels, seed)
    small.facts = {**opened.facts, **facts}
    return small
