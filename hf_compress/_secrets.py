"""Tokens, keys and passwords: recognized so that they never reach a file, a log or a card."""

import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from hf_compress._errors import CompressionError

HIDDEN = "<secret>"
_KEYS = re.compile(
    r"(.*_)?(secret|password|passwd|passphrase|credentials?|api_?key|access_?key|secret_?key|private_?key)(_.*)?"
    r"|((hub|hf|huggingface|api|auth|use_auth|access|refresh|bearer|session|personal|push_to_hub|login|wandb|github)_)?token"
)
"""Settings that hold a secret; pad_token and its kin are vocabulary."""
_VALUES = re.compile(
    r"\b(hf|api_org)_[A-Za-z0-9]{16,}"  # Hugging Face
    r"|\b(ghp|gho|ghs|github_pat|glpat|xox[abprs])[_-][A-Za-z0-9_-]{16,}"
    r"|\bsk-[A-Za-z0-9_-]{20,}|\bAKIA[0-9A-Z]{16}\b"
    r"|\beyJ[\w-]{8,}\.eyJ[\w-]{8,}"  # a JSON web token
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|(?<=://)[^/\s:@]+:[^/\s:@]+(?=@)"  # a name and password in an address
)
_TOKENS = ("rows", "missing_rows")
"""Mappings whose keys are tokens of a vocabulary, which may be any word."""


def hide_secrets(text: str) -> str:
    """The text with every token, key or password that looks like one replaced."""
    return _VALUES.sub(HIDDEN, text)


def find_secrets(data: Any) -> list[str]:
    """Where in plain data a secret stands, as dotted keys; "" for the data itself."""
    return [".".join(path) for path in _found(data, ())]


def refuse_secrets(data: Any) -> None:
    """Refuse plain data that holds a secret, without repeating it.

    Raises:
        CompressionError: a line for each.
    """
    found = find_secrets(data)
    if found:
        raise CompressionError("\n".join(f"{place}: {WAY_OUT}" for place in found))


WAY_OUT = (
    "holds a secret, which would stand in the recipe, the manifest and the card; leave it out and set HF_TOKEN in the"
    " environment, or log in with `hf auth login`"
)


@contextlib.contextmanager
def left_out(arguments: Any) -> Iterator[None]:
    """While the block runs, an object's attributes that hold a secret are None: what is written of it holds none.

    Args:
        arguments: transformers writes all of its TrainingArguments into every checkpoint, `hub_token` too.
    """
    secrets = {
        name: value
        for name, value in vars(arguments).items()
        if isinstance(value, str) and value and (_KEYS.fullmatch(name.lower()) or _VALUES.search(value))
    }
    for name in secrets:
        setattr(arguments, name, None)
    try:
        yield
    finally:
        for name, value in secrets.items():
            setattr(arguments, name, value)


def _found(data: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if isinstance(data, str):
        if _VALUES.search(data):
            yield path
    elif isinstance(data, Mapping):
        named = path[-1:] and path[-1] in _TOKENS
        for key, value in data.items():
            shown = HIDDEN if isinstance(key, str) and _VALUES.search(key) else str(key)
            below = (*path, shown)
            if shown == HIDDEN or (not named and _KEYS.fullmatch(str(key).lower()) and isinstance(value, str) and value):
                yield below
            else:
                yield from _found(value, below)
    elif isinstance(data, list | tuple):
        for index, item in enumerate(data):
            yield from _found(item, (*path, str(index)))
