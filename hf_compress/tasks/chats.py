"""Conversations as tokens, and which of them are answers."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from hf_compress._errors import CompressionError, reason_of
from hf_compress.tasks.row_kind import IGNORED

Turns = Sequence[Mapping[str, Any]]
"""[{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}, ...]"""
ANSWERS = "assistant"
PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] + '\\n' }}{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + eos_token }}{% endgeneration %}"
    "{% else %}{{ message['content'] + eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant\\n' }}{% endif %}"
)
"""For a tokenizer that has no template because it is made for the run: role, line feed, content, end token."""
_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")


def marks_answers(tokenizer: Any) -> bool:
    """Whether its template says which tokens are answers, which takes a fast tokenizer."""
    return _GENERATION.search(tokenizer.get_chat_template()) is not None


def encode_chat(tokenizer: Any, turns: Turns, first: int = 0) -> tuple[list[int], list[int]]:
    """Token ids of a conversation by the tokenizer's template, and labels: its answers, -100 elsewhere.

    Where the template marks answers ({% generation %}), those are the marked tokens. Elsewhere an answer is what an
    assistant turn adds, token by token, to the conversation before it with the prompt for an answer.

    Args:
        tokenizer: with a chat template.
        turns: an assistant turn among them.
        first: answers before this turn are not learned.

    Raises:
        CompressionError: the template refuses the conversation or writes no answer, or what comes before an answer becomes
            other tokens once there is one, so that it cannot be told what the answer is.
    """
    marks = marks_answers(tokenizer)
    encoded = rendered(tokenizer, turns, return_assistant_tokens_mask=marks, tokenizer_kwargs={"verbose": False})
    ids: list[int] = encoded["input_ids"]
    if marks:
        prompted = any(turn["role"] == ANSWERS for turn in turns[:first])
        begin = _end_of(tokenizer, turns[:first], ids) if prompted else 0
        learned = {place for place, one in enumerate(encoded["assistant_masks"]) if one and place >= begin}
    else:
        learned = {
            token
            for place in range(first, len(turns))
            if turns[place]["role"] == ANSWERS
            for token in range(
                _end_of(tokenizer, turns[:place], ids), _end_of(tokenizer, turns[: place + 1], ids, prompt=False)
            )
        }
    if not learned:
        raise CompressionError("the chat template writes nothing of its answers; take another template, or mend it")
    return ids, [id if place in learned else IGNORED for place, id in enumerate(ids)]


def rendered(tokenizer: Any, turns: Turns, **options: Any) -> Any:
    """What `apply_chat_template` makes of a conversation.

    Raises:
        CompressionError: the template refuses it, or fails.
    """
    from jinja2 import TemplateError

    try:
        return tokenizer.apply_chat_template(turns, **options)
    except (TemplateError, TypeError, ValueError, LookupError, ArithmeticError) as error:  # a template is a program
        raise CompressionError(f"the chat template refuses it: {reason_of(error)}") from error


def _end_of(tokenizer: Any, turns: Turns, ids: list[int], prompt: bool = True) -> int:
    """Tokens of a beginning of the conversation, with the prompt for an answer behind it."""
    if not turns:
        raise CompressionError(
            "it begins with an answer, and the chat template does not mark answers ({% generation %}); put a turn before it"
        )
    begins = rendered(tokenizer, turns, add_generation_prompt=prompt, tokenizer_kwargs={"verbose": False})
    own: list[int] = begins["input_ids"]
    if ids[: len(own)] != own:
        raise CompressionError(
            f"its first turns (here {len(turns)}) become other tokens once more turns follow, and the chat template does"
            " not mark answers, so it cannot be told where they begin; put {% generation %} and {% endgeneration %} around"
            " them in the template"
        )
    return len(own)
