"""Which of the teacher's answers mean what the student's mean: token ids and labels."""

import contextlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hf_compress._errors import CompressionError
from hf_compress.distillation.signal import Classes

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Correspondence:
    """How a teacher's logits are brought to the student's classes.

    Attributes:
        columns: the teacher's class for each of the student's, where the same labels stand in another order.
        common: how many token ids both have, where one vocabulary is padded further than the other; the divergence is then
            taken over these, normalised on both sides.
    """

    columns: tuple[int, ...] | None = None
    common: int | None = None


def correspondence(
    student: Any, teacher: Any, *, classes: Classes, tokenizers: tuple[Any, Any] = (None, None)
) -> Correspondence:
    """Compare what the ids mean on both sides.

    Args:
        student: the student's config.
        teacher: the teacher's config.
        classes: what both choose among.
        tokenizers: the student's and the teacher's, where they are known.

    Raises:
        CompressionError: other token ids, another number of labels, other labels, or an ensemble that reads more than the
            student's inputs.
    """
    read = len(set(getattr(teacher, "input_groups", None) or (0,)))
    if read > 1:
        raise CompressionError(
            f"the members of the teacher read what {read} different tokenizers or processors make, and a student reads"
            " what one makes; take an ensemble whose members share theirs"
        )
    common = _common_ids(student, teacher, tokenizers)
    if classes != "labels":
        return Correspondence(common=common if classes == "tokens" else None)
    if student.num_labels != teacher.num_labels:
        raise CompressionError(
            f"the teacher has {teacher.num_labels} labels and the student {student.num_labels}; take a teacher trained on"
            " the same labels"
        )
    return Correspondence(columns=_columns(dict(student.id2label), dict(teacher.id2label)))


def _common_ids(student: Any, teacher: Any, tokenizers: tuple[Any, Any]) -> int | None:
    """The number of shared ids where the sizes differ by padding alone, else None."""
    known = None not in tokenizers
    if known and tokenizers[0].get_vocab() != tokenizers[1].get_vocab():
        raise CompressionError(
            f"the teacher's tokenizer is another one than the student's: {_difference(*tokenizers)}; both see the same"
            " token ids, so take a teacher with the student's tokenizer"
        )
    own, other = (getattr(config.get_text_config(), "vocab_size", None) for config in (student, teacher))
    if own == other:
        return None
    if known and own is not None and other is not None and len(tokenizers[0]) <= min(own, other):
        logger.info(
            "one tokenizer, padded to %d ids for the student and %d for the teacher: the first %d are compared",
            own,
            other,
            min(own, other),
        )
        return int(min(own, other))
    way = "" if known else "; paddings of one tokenizer are cut to the common ids where processing_class and the teacher's"
    way += "" if known else " folder have a tokenizer that shows it"
    raise CompressionError(
        f"the teacher has a vocabulary of {other} and the student one of {own}; distillation feeds both the same token ids,"
        f" so take a teacher with the student's tokenizer{way}"
    )


def _difference(student: Any, teacher: Any) -> str:
    """One token that shows it."""
    own, other = student.get_vocab(), teacher.get_vocab()
    token = next(iter(sorted(token for token in {**own, **other} if own.get(token) != other.get(token))))
    sides = [f"id {ids[token]}" if token in ids else "none" for ids in (own, other)]
    return f"{token!r} has {sides[0]} for the student and {sides[1]} for the teacher"


def _columns(student: Mapping[int, str], teacher: Mapping[int, str]) -> tuple[int, ...] | None:
    if student == teacher or _are_default(student) or _are_default(teacher):
        return None
    place = {name: index for index, name in teacher.items()}
    missing = next((index for index in student if student[index] not in place), None)
    if missing is not None or len(place) != len(student):
        index = missing if missing is not None else 0
        raise CompressionError(
            f"label {index} is {student[index]!r} for the student and the teacher knows "
            + ", ".join(repr(name) for name in list(teacher.values())[:8])
            + "; take a teacher trained on the same labels, in any order"
        )
    logger.info("the teacher has the student's labels in another order; its logits are reordered by name")
    return tuple(place[student[index]] for index in sorted(student))


def _are_default(id2label: Mapping[int, str]) -> bool:
    """True for LABEL_0, LABEL_1, ..., which say nothing about meaning."""
    return all(name == f"LABEL_{index}" for index, name in id2label.items())


def tokenizer_at(place: str | None, local_only: bool) -> Any:
    """The tokenizer that lies beside a model, or None: a teacher without one is judged by its config alone."""
    from transformers import AutoTokenizer

    if not place:
        return None
    with contextlib.suppress(Exception):  # each tokenizer class fails in its own way where its files are missing
        return AutoTokenizer.from_pretrained(place, local_files_only=local_only, trust_remote_code=False)
    return None
