"""The answer to a question, out of a text."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from hf_compress._errors import CompressionError
from hf_compress.inputs.columns import Column
from hf_compress.inputs.row_checks import RowCheck
from hf_compress.inputs.wrong_rows import Wrong
from hf_compress.tasks.answers import BestSpans
from hf_compress.tasks.heads import QUESTION_ANSWERING, Head
from hf_compress.tasks.metrics.builtin.squad import Squad
from hf_compress.tasks.metrics.metric import Metric
from hf_compress.tasks.metrics.predictions import Predictions
from hf_compress.tasks.padding import PadRows
from hf_compress.tasks.task import Splits, check_count
from hf_compress.tasks.text import TokenTask, require_places

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PretrainedConfig

_ENDS = ("start_positions", "end_positions")


@dataclass(frozen=True, kw_only=True)
class QuestionAnswering(TokenTask, name="question_answering"):
    """Questions with a context that holds the answer, as in SQuAD: {text: [...], answer_start: [...]}.

    A context that is longer than `length` leaves room for becomes several windows, which overlap by `stride`. A window is
    trained on the first answer, or, where it does not hold all of it, on [CLS] (or its first token), which stands for no
    answer here. The answer to a question is the span with the largest sum of start and end logits of all its windows. A
    question that is longer than half of `length` is cut.

    Attributes:
        question: the column with questions.
        context: the column with texts.
        answers: the column with what is right, each answer with the character where it begins.
        length: tokens of a window, those of the question with it.
        stride: tokens that a window has in common with the next; None = a quarter of `length`.
        max_answer_length: tokens of an answer at most.
        unanswerable: there are questions without an answer (an empty list); "" is predicted where [CLS] wins.
    """

    head: ClassVar[Head] = QUESTION_ANSWERING
    predicts: ClassVar[Predictions | None] = "spans"

    question: str = "question"
    context: str = "context"
    answers: str = "answers"
    length: int = 384
    stride: int | None = None
    max_answer_length: int = 30
    unanswerable: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count(self.length, "length", 12)
        check_count(self.max_answer_length, "max_answer_length")
        if self.stride is not None and not 0 <= self.stride < self.length // 2 - 4:
            raise CompressionError(
                f"stride={self.stride} must lie between 0 and {self.length // 2 - 5}: a long question leaves half of a"
                f" window of {self.length} tokens, without special ones, and the next must begin behind its beginning"
            )

    @property
    def unit(self) -> str:
        """Windows."""
        return f"windows of {self.length} tokens"

    def default_metrics(self) -> tuple[Metric, ...]:
        """F1 and exact match."""
        return (Squad(),)

    def columns(self) -> tuple[Column, ...]:
        """Questions, contexts, answers."""
        from datasets import List, Value

        text = Value("string")
        return (
            Column(key="question", name=self.question, feature=text),
            Column(key="context", name=self.context, feature=text),
            Column(key="answers", name=self.answers, feature={"text": List(text), "answer_start": List(Value("int64"))}),
        )

    def row_checks(self) -> tuple[RowCheck, ...]:
        """Answers that are not in their context, and questions without one unless they are meant."""
        return (*super().row_checks(), RowCheck(key="answers", find=self._wrong_answers, reads=("context",)))

    def _wrong_answers(self, split: "Dataset") -> Iterator[Wrong]:
        for number, row in enumerate(split.select_columns([self.context, self.answers])):
            mistake = self._mistake(row[self.context], row[self.answers])
            if mistake is not None:
                yield Wrong(position=number, says=mistake[0], way_out=mistake[1])

    def _mistake(self, context: str, answers: Mapping[str, list[Any]]) -> tuple[str, str] | None:
        """What is wrong with the answers of a row, and the way out."""
        texts, starts = answers["text"], answers["answer_start"]
        if len(texts) != len(starts):
            return f"has {len(texts)} texts and {len(starts)} answer_start", "give one of each for every answer"
        if not texts and not self.unanswerable:
            return "has no answer", "remove it, or write unanswerable: true"
        for text, start in zip(texts, starts, strict=True):
            if not text.strip():
                return "has an empty answer", "leave its lists empty where there is none"
            if start < 0 or context[start : start + len(text)] != text:
                return (
                    f"has the answer {text[:40]!r}, which does not stand at character {start} of the column"
                    f" {self.context!r}",
                    "write its characters as they are there, and count from 0",
                )
        return None

    def texts(self, split: "Dataset") -> Iterable[str]:
        """Questions and contexts."""
        for column in (self.question, self.context):
            yield from split[column]

    def check_config(self, config: "PretrainedConfig", processor: Any) -> None:
        """Refuse a tokenizer that does not say where its tokens stand, too."""
        super().check_config(config, processor)
        require_places(processor, "answers")

    def examples(self, splits: Splits, processor: Any, labels: list[str]) -> Splits:
        """Windows: token ids, the answer's first and last token, the row they are of and where their tokens stand in it."""
        return {
            name: split.map(
                self._windows,
                fn_kwargs={"processor": processor},
                batched=True,
                with_indices=True,
                remove_columns=split.column_names,
                desc=f"tokenizing {name}",
            )
            for name, split in splits.items()
        }

    def _windows(self, batch: dict[str, list[Any]], numbers: list[int], processor: Any) -> dict[str, list[Any]]:
        room = (self.length - processor.num_special_tokens_to_add(pair=True)) // 2
        encoded = processor(
            [_cut(question.strip(), processor, room) for question in batch[self.question]],
            batch[self.context],
            truncation="only_second",
            max_length=self.length,
            stride=self.length // 4 if self.stride is None else self.stride,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        made: dict[str, list[Any]] = {name: [] for name in (*_ENDS, "row", "offsets", "nowhere")}
        for window, row in enumerate(encoded.pop("overflow_to_sample_mapping")):
            inside = encoded.sequence_ids(window)
            offsets = [
                list(place) if part == 1 else [-1, -1]
                for place, part in zip(encoded["offset_mapping"][window], inside, strict=True)
            ]
            ids = encoded["input_ids"][window]
            nowhere = ids.index(processor.cls_token_id) if processor.cls_token_id in ids else 0
            ends = _tokens_of(batch[self.answers][row], offsets) or (nowhere, nowhere)
            for name, value in zip(made, (*ends, numbers[row], offsets, nowhere), strict=True):
                made[name].append(value)
        kept = {name: encoded[name] for name in processor.model_input_names if name in encoded}
        return {**kept, **made}

    def collator(self, processor: Any) -> Any:
        """Pads to the longest window of a batch."""
        return PadRows(processor, more=_ENDS)

    def preprocess_logits(self) -> Any:
        """Those of the beginning and of the end, (B, T, 2)."""
        return _both

    def compute_metrics(self, examples: "Dataset", rows: "Dataset", processor: Any, metrics: Sequence[Metric] = ()) -> Any:
        """The metrics of the best span of every question."""
        return BestSpans(
            examples,
            rows,
            context=self.context,
            answers=self.answers,
            longest=self.max_answer_length,
            unanswerable=self.unanswerable,
            metrics=self.all_metrics(metrics),
        )


def _cut(question: str, processor: Any, room: int) -> str:
    """A question of at most `room` tokens."""
    places = processor(question, add_special_tokens=False, return_offsets_mapping=True, verbose=False)["offset_mapping"]
    return question if len(places) <= room else question[: places[room - 1][1]]


def _tokens_of(answers: dict[str, list[Any]], offsets: Sequence[Sequence[int]]) -> tuple[int, int] | None:
    """The first and last token of the first answer; None where the window does not hold all of it."""
    if not answers["text"]:
        return None
    text = answers["text"][0]
    begin = answers["answer_start"][0] + len(text) - len(text.lstrip())
    end = begin + len(text.strip())
    touched = [place for place, (first, last) in enumerate(offsets) if first < end and last > begin]
    if not touched or offsets[touched[0]][0] > begin or offsets[touched[-1]][1] < end:
        return None
    return touched[0], touched[-1]


def _both(logits: Any, labels: Any) -> Any:
    import torch

    return torch.stack([logits[0], logits[1]], dim=-1)
