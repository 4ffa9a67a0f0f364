"""Entities in sequences of tags."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from hf_compress._errors import CompressionError
from hf_compress._registry import Reference
from hf_compress.tasks.metrics.metric import Metric
from hf_compress.tasks.metrics.predictions import Predictions
from hf_compress.tasks.metrics.sums import share
from hf_compress.tasks.metrics.tags import check_lengths

if TYPE_CHECKING:
    from numpy import ndarray

_PREFIXES = ("B-", "I-", "E-", "S-")


@dataclass(frozen=True, kw_only=True)
class Seqeval(Metric, name="seqeval"):
    """An entity is right if its type, its first and its last token are; precision, recall and F1 over all entities.

    Tags are O, and B-, I-, E- or S- with a type. Read as conlleval and seqeval do by default: an entity goes on until O,
    B-, S-, another type, or behind E- and S-; so an I- behind O begins one, too. overall_accuracy is that of tokens.

    Attributes:
        strict: only B- begins an entity, and only I- of its type goes on with it; any other I- belongs to none. Tags are
            then B-, I- and O alone (IOB2).
    """

    takes: ClassVar[tuple[Predictions, ...]] = ("tags",)
    greater_is_better: ClassVar[bool] = True
    reference: ClassVar[Reference | None] = Reference(
        authors="Erik F. Tjong Kim Sang, Fien De Meulder",
        title="Introduction to the CoNLL-2003 Shared Task: Language-Independent Named Entity Recognition",
        year=2003,
        link="https://aclanthology.org/W03-0419",
    )

    strict: bool = False

    @property
    def gives(self) -> tuple[str, ...]:
        """F1 is the one to compare by."""
        return ("overall_f1", "overall_precision", "overall_recall", "overall_accuracy")

    def check(self, kind: Predictions, labels: Sequence[str]) -> None:
        """Refuse tags that mark no entities."""
        super().check(kind, labels)
        for label in labels:
            self._check_tag(label)

    def _check_tag(self, tag: str) -> None:
        known = _PREFIXES[:2] if self.strict else _PREFIXES
        if tag != "O" and not (tag.startswith(known) and len(tag) > 2):
            raise CompressionError(
                f"{self.name} counts entities, whose tags are O and {', '.join(f'{one}TYPE' for one in known)}; {tag!r} is"
                " none of them: name accuracy, or other tags"
            )

    def score(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        """overall_f1, overall_precision, overall_recall, overall_accuracy."""
        sums = self.of_sums(self.statistics(predictions, references).sum(0, keepdims=True))
        return {key: float(value[0]) for key, value in sums.items()}

    def statistics(self, predictions: Sequence[Any], references: Sequence[Any]) -> "ndarray":
        """Entities that are right, found, and there; tokens that are right, and tokens."""
        import numpy

        check_lengths(self.name, predictions, references)
        rows = []
        for predicted, truth in zip(predictions, references, strict=True):
            for tag in {*predicted, *truth}:
                self._check_tag(tag)
            one, other = set(self._entities(predicted)), set(self._entities(truth))
            right_tokens = sum(a == b for a, b in zip(predicted, truth, strict=True))
            rows.append([len(one & other), len(one), len(other), right_tokens, len(truth)])
        return numpy.array(rows, dtype=numpy.float64)

    def of_sums(self, sums: "ndarray") -> "dict[str, ndarray]":
        """2 P R / (P + R) with P = right / found and R = right / there; P; R; the share of right tokens."""
        right, found, there, right_tokens, tokens = sums.T
        return {
            "overall_f1": share(2 * right, found + there),
            "overall_precision": share(right, found),
            "overall_recall": share(right, there),
            "overall_accuracy": share(right_tokens, tokens),
        }

    def row_scores(self, predictions: Sequence[Any], references: Sequence[Any]) -> "ndarray":
        """F1 of the sentence, 1 where it has no entity and none is found."""
        statistics = self.statistics(predictions, references)
        nothing = statistics[:, 1] + statistics[:, 2] == 0
        return self.of_sums(statistics)["overall_f1"] + nothing

    def _entities(self, tags: Sequence[str]) -> Iterator[tuple[str, int, int]]:
        """Type, first token, last token."""
        begin, last = None, ("O", "")
        for place, tag in enumerate([*tags, "O"]):
            prefix, _, kind = tag.partition("-")
            follows = last[0] != "O" and last[1] == kind and prefix in ("I", "E") and last[0] in ("B", "I")
            if begin is not None and not follows:
                yield last[1], begin, place - 1
                begin = None
            if prefix != "O" and not follows and (prefix == "B" or not self.strict):
                begin = place
            # In strict reading a token of no entity is as good as O.
            last = (prefix, kind) if begin is not None else ("O", "")
