"""The answers of an assistant."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from hf_compress._errors import CompressionError, reason_of
from hf_compress._paths import expand
from hf_compress._problems import check_all
from hf_compress.inputs.columns import Column
from hf_compress.inputs.row_checks import RowCheck
from hf_compress.inputs.streams import is_stream, mapped
from hf_compress.inputs.wrong_rows import Wrong
from hf_compress.tasks.chats import ANSWERS, PLAIN_TEMPLATE, Turns, encode_chat, marks_answers, rendered
from hf_compress.tasks.next_token import NextToken
from hf_compress.tasks.padding import PadRows
from hf_compress.tasks.row_kind import IGNORED
from hf_compress.tasks.task import Splits
from hf_compress.tasks.text import require_places

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PretrainedConfig

_CUT = "cut"
"""The column of the examples that says whether `length` cut an answer."""


@dataclass(frozen=True, kw_only=True)
class Chat(NextToken, name="chat"):
    """Conversations, cut to `length` tokens, in which every token of an assistant's answers is predicted and no other.

    The tokenizer's chat template writes them. Of a prompt and its completion, answers in the prompt are not learned.

    Attributes:
        messages: the column with conversations: lists of {role, content}.
        prompt: instead of it, the column with what comes before an answer: text of a user, or a list of {role, content}.
        completion: with `prompt`, the column with the answer: text, or a list of {role, content}.
        length: tokens that are read of a conversation.
        template: a file with a Jinja template, in place of the tokenizer's own.
    """

    streams: ClassVar[bool] = True

    messages: str = "messages"
    prompt: str | None = None
    completion: str | None = None
    template: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.prompt is None) is not (self.completion is None):
            raise CompressionError("prompt and completion belong together; name both columns, or neither and messages")
        if self.prompt is not None and self.messages != type(self).messages:
            raise CompressionError("messages and prompt are two ways to name conversations; leave one of them out")

    def columns(self) -> tuple[Column, ...]:
        """Conversations, in one column or in two."""
        from datasets import List, Value

        turns = List({"role": Value("string"), "content": Value("string")})
        if self.prompt is None or self.completion is None:
            return (Column(key="messages", name=self.messages, feature=turns),)
        either = (Value("string"), turns)
        return (
            Column(key="prompt", name=self.prompt, feature=either),
            Column(key="completion", name=self.completion, feature=either),
        )

    @property
    def _answered(self) -> Column:
        """The column that has the answers."""
        return self.columns()[-1]

    def _conversations(self, rows: Any) -> Iterator[tuple[Turns, int]]:
        """Of each row the turns, and the first of them whose answers are learned."""
        if self.prompt is None:
            return ((turns, 0) for turns in rows[self.messages])
        prompts = (_turns(one, "user") for one in rows[self.prompt])
        completions = (_turns(one, ANSWERS) for one in rows[self.completion])
        return (([*before, *after], len(before)) for before, after in zip(prompts, completions, strict=True))

    def texts(self, split: "Dataset") -> Iterable[str]:
        """What is said."""
        return (turn["content"] for turns, _ in self._conversations(split) for turn in turns)

    def row_checks(self) -> tuple[RowCheck, ...]:
        """Conversations without an answer, and with an empty one."""
        reads = tuple(column.key for column in self.columns())
        return (*super().row_checks(), RowCheck(key=self._answered.key, find=self._unanswered, reads=reads))

    def _unanswered(self, split: "Dataset") -> Iterator[Wrong]:
        for row, (turns, first) in enumerate(self._conversations(split)):
            answers = [turn["content"] for turn in turns[first:] if turn["role"] == ANSWERS]
            if not answers:
                yield Wrong(position=row, says="has no assistant turn", way_out="there is nothing to learn, remove it")
            elif not all(answer.strip() for answer in answers):
                yield Wrong(position=row, says="has an assistant turn that is empty", way_out="remove the turn, or the row")

    def check_config(self, config: "PretrainedConfig", processor: Any) -> None:
        """Refuse a template that cannot be read, also where the tokenizer is yet to be trained."""
        own = processor is None and self.template is not None
        check_all(
            lambda: super(Chat, self).check_config(config, processor),
            *([lambda: self._read_template(str(self.template))] if own else []),
        )

    def _read_template(self, template: str) -> str:
        file = expand(template, "task.template")
        try:
            return file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise CompressionError(f"task.template: {file} cannot be read: {reason}") from error

    def finish_processor(self, processor: Any, fresh: bool) -> None:
        """Give a tokenizer the recipe's template, and one that is made for the run a plain one; refuse one without.

        Raises:
            CompressionError: there is no template, or the file has none.
        """
        if self.template is not None:
            processor.chat_template = self._read_template(self.template)
            try:
                rendered(processor, _turns("a", "user") + _turns("b", ANSWERS), tokenize=False)
            except CompressionError as error:
                raise CompressionError(
                    f"task.template: {self.template} is not a chat template: {reason_of(error.__cause__ or error)}"
                ) from error
        elif fresh and not processor.chat_template:
            processor.chat_template = PLAIN_TEMPLATE
        if not processor.chat_template:
            raise CompressionError(
                "tokenizer: has no chat template, which says how a conversation is written; name the tokenizer of a model"
                " that chats, or a file with a template: task: {name: chat, template: chat.jinja}"
            )
        if marks_answers(processor):
            require_places(processor, "marked answers")

    def examples(self, splits: Splits, processor: Any, labels: list[str]) -> Splits:
        """Token ids, and labels of the answers; rows of which no answer is left by `length` are left out."""

        def encode(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
            made: dict[str, list[Any]] = {"input_ids": [], "attention_mask": [], "labels": [], _CUT: []}
            for turns, first in self._conversations(batch):
                try:
                    ids, answers = encode_chat(processor, turns, first)
                except CompressionError as error:
                    raise CompressionError(f"task.{self._answered.key}: {error}") from error
                kept = answers[: self.length]
                if all(label == IGNORED for label in kept[1:]):
                    continue
                made["input_ids"].append(ids[: self.length])
                made["attention_mask"].append([1] * len(kept))
                made["labels"].append(kept)
                made[_CUT].append(any(label != IGNORED for label in answers[self.length :]))
            return made

        encoded = {name: mapped(split, encode, name) for name, split in splits.items()}
        for name, split in encoded.items():
            if not is_stream(split) and len(split) == 0:
                raise CompressionError(
                    f"task.length: no answer of the {name} split begins within {self.length} tokens; take a larger length"
                )
        return encoded

    def describe_examples(self, splits: Splits, examples: Splits) -> dict[str, str]:
        """How many answers `length` cuts."""
        cut = {name: sum(split[_CUT]) for name, split in examples.items()}
        gone = {name: len(splits[name]) - len(split) for name, split in examples.items()}
        counts = [
            f"{cut[name] + gone[name]:,} of {len(splits[name]):,} {name} rows ({gone[name]:,} of them wholly, and left out)"
            for name in examples
            if cut[name] + gone[name]
        ]
        return {f"answers cut at {self.length} tokens": ", ".join(counts) or "none"}

    def likelihood_tokens(self, rows: "Dataset", processor: Any) -> int:
        """Those of the answers."""
        encoded = (encode_chat(processor, turns, first) for turns, first in self._conversations(rows[:]))
        return sum(label != IGNORED for _, answers in encoded for label in answers)

    def collator(self, processor: Any) -> Any:
        """Pads to the longest conversation of a batch."""
        return PadRows(processor)


def _turns(given: Any, role: str) -> list[Any]:
    """A text as a conversation of one turn; a conversation as it is."""
    return [{"role": role, "content": given}] if isinstance(given, str) else list(given)
