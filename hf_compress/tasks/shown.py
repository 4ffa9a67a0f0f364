"""A few inputs and what a model answers, as text, for reports."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from datasets import Dataset

    from hf_compress.inputs.columns import Column

LONGEST = 300
"""Characters of a text that are shown."""
_AT_ONCE = 8
"""Texts that a model goes on with together."""
_RIGHT = ("label", "labels", "target", "answers", "completion")
"""The keys of columns with what is right, and not with inputs."""
_SEEN = {"image": "an image", "audio": "a sound"}
"""Inputs that are not text."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One row.

    Attributes:
        input: what the model reads, cut where it is long.
        expected: what is right.
        answer: what the model says.
    """

    input: str
    expected: str
    answer: str


class _Reads(Protocol):
    def columns(self) -> "tuple[Column, ...]": ...


def shown_rows(
    task: _Reads,
    rows: "Dataset",
    predictions: Sequence[Any],
    references: Sequence[Any],
    labels: Sequence[str],
    count: int,
) -> list[Shown]:
    """The first rows of an evaluation.

    Args:
        task: whose.
        rows: raw ones, all that were evaluated.
        predictions: of an evaluation.
        references: what is right.
        labels: in the order of their ids; empty without.
        count: rows at most.

    Returns:
        Nothing where predictions cannot be told to which rows they belong, because some rows have none.
    """
    if len(predictions) != len(rows):
        return []
    return [
        Shown(
            input=input_text(task, rows[row]),
            expected=shortened(_text(right, labels)),
            answer=shortened(_text(said, labels)),
        )
        for row, (said, right) in enumerate(zip(predictions[:count], references[:count], strict=True))
    ]


def input_text(task: _Reads, row: dict[str, Any]) -> str:
    """What a task reads of a raw row, column after column."""
    parts = []
    for column in task.columns():
        if column.key in _RIGHT:
            continue
        parts.append(_SEEN.get(column.key) or _joined(row.get(column.name)))
    return shortened("\n".join(parts))


def shortened(text: str) -> str:
    """A text that is cut where it is long."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def _joined(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(_joined(item.get("content") if isinstance(item, dict) else item) for item in value)
    return str(value)


def _text(value: Any, labels: Sequence[str]) -> str:
    """A prediction, or what is right, of any kind that metrics compare; numbers may be numpy's."""
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, dict):  # spans
        return value["prediction_text"] if "prediction_text" in value else _any_of(value["answers"]["text"])
    if isinstance(value, list):
        if len(labels) == len(value) and set(value) <= {0, 1}:
            return ", ".join(name for name, holds in zip(labels, value, strict=True) if holds) or "none"
        return " ".join(map(str, value))
    if isinstance(value, int) and 0 <= value < len(labels):
        return labels[value]
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _any_of(texts: Iterable[str]) -> str:
    return " | ".join(dict.fromkeys(texts)) or "no answer"


def continuations(
    model: Any, examples: "Dataset", tokenizer: Any, count: int, given: int = 24, new: int = 24
) -> list[Shown]:
    """What a language model writes behind the beginnings of the first examples, always the likeliest token.

    The beginning is what comes before the first label, where an example has such a part (a conversation), else its first
    tokens.

    Args:
        model: causal.
        examples: with `input_ids` and `labels`.
        tokenizer: makes text of tokens.
        count: examples at most.
        given: tokens of a beginning, where the example does not say it.
        new: tokens that are written.
    """
    prompts: list[list[int]] = []
    rights: list[list[int]] = []
    for example in examples.select(range(min(count, len(examples)))):
        ids, labels = list(example["input_ids"]), list(example["labels"])
        first = next((place for place, label in enumerate(labels) if label != -100), 0)
        end = first if first > 1 else min(given, len(ids) // 2)
        if 0 < end < len(ids):
            prompts.append(ids[:end])
            rights.append(ids[end : end + new])
    found = []
    for parts in zip(prompts, rights, _written(model, prompts, tokenizer, new), strict=True):
        texts = [shortened(tokenizer.decode(part, skip_special_tokens=False)) for part in parts]
        found.append(Shown(input=texts[0], expected=texts[1], answer=texts[2]))
    return found


def _written(model: Any, prompts: Sequence[list[int]], tokenizer: Any, new: int) -> list[list[int]]:
    """What a model writes behind each prompt; those of one length together, as padding would change what some write."""
    import torch

    from hf_compress._quiet import quiet

    said: dict[int, list[int]] = {}
    padding = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    for length in dict.fromkeys(map(len, prompts)):
        alike = [place for place, prompt in enumerate(prompts) if len(prompt) == length]
        for places in (alike[first : first + _AT_ONCE] for first in range(0, len(alike), _AT_ONCE)):
            batch = torch.tensor([prompts[place] for place in places], device=model.device)
            with torch.no_grad(), quiet():
                written = model.generate(
                    input_ids=batch,
                    attention_mask=torch.ones_like(batch),
                    do_sample=False,
                    num_beams=1,
                    max_new_tokens=new,
                    pad_token_id=padding,
                )
            ended = (_to_its_end(row, model.generation_config.eos_token_id) for row in written[:, length:].tolist())
            said |= dict(zip(places, ended, strict=True))
    return [said[place] for place in range(len(prompts))]


def _to_its_end(tokens: list[int], ends: int | list[int] | None) -> list[int]:
    """Without the padding that a row gets where others of its batch go on."""
    known = {ends} if isinstance(ends, int) else set(ends or ())
    last = next((place for place, token in enumerate(tokens) if token in known), len(tokens))
    return tokens[: last + 1]
