"""Whether a result's tokenizer and processor load, and read texts as those of the input do that they come from."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_compress._errors import CompressionError, reason_of
from hf_compress._quiet import quiet
from hf_compress.checkpoints.companion_names import has_vocabulary
from hf_compress.merging.members.tokenizers import tokenizer_in

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_TEXTS = ("The quick brown fox: 1 + 2 = 3?", "Größe, naïve, 世界 🙂", "  two  spaces,\n\ta tab and http://x.y/z_0 ")
"""Letters of several scripts, digits, white space and signs; what a text means matters to nobody here."""
_PROCESSORS = ("processor_config.json", "preprocessor_config.json", "video_preprocessor_config.json")


@dataclass(frozen=True, kw_only=True)
class Reader:
    """A tokenizer or a processor, as far as two of them are compared.

    Attributes:
        name: its class.
        facts: what must be equal, by what it is called.
        problem: why it does not load; None where it does.
    """

    name: str = ""
    facts: dict[str, Any] | None = None
    problem: str | None = None


def verify_readers(
    folder: Path, source: Path, tokenizer: "PreTrainedTokenizerBase | None" = None, place: Path | None = None
) -> str:
    """Load the result's tokenizer and processor, and compare them with what they were made from.

    Args:
        folder: the result.
        source: the input whose files it has.
        tokenizer: the result's where it is another than the input's.
        place: how refusals call the folder; by default as it is.

    Returns:
        A sentence for the report; "" where the input has neither. What does not load from the input either (a package that
        is missing, code of its own) is said there, since nothing can be compared.

    Raises:
        CompressionError: it does not load from the result, or reads texts otherwise.
    """
    said = []
    for kind, read in (("tokenizer", _tokenizer), ("processor", _processor)):
        before = read(source) if tokenizer is None or kind == "processor" else _described(tokenizer)
        if before is None:
            continue
        if before.problem is not None:
            said.append(f"{kind} copied and not checked, as that of the input does not load: {before.problem}")
            continue
        after = read(folder)
        reason = "there is none" if after is None else after.problem or _difference(before, after)
        if reason is not None:
            raise CompressionError(
                f"{place or folder}: the {kind} of the result is not that of {source} ({before.name}): {reason}; a file"
                " that it needs is not among those that are copied"
            )
        said.append(f"{kind} as in the input ({before.name})" if tokenizer is None else f"{kind} loads ({before.name})")
    return ", ".join(said)


def _tokenizer(folder: Path) -> Reader | None:
    try:
        with quiet():
            loaded = tokenizer_in(folder) if has_vocabulary(folder) else None
    except CompressionError as error:
        return Reader(problem=str(error).partition(" cannot be loaded: ")[2] or str(error))
    return None if loaded is None else _described(loaded)


def _described(tokenizer: "PreTrainedTokenizerBase") -> Reader:
    facts: dict[str, Any] = {"class": type(tokenizer).__name__, "vocabulary": _try(tokenizer.get_vocab)}
    for text in _TEXTS:
        facts[f"ids of {text!r}"] = _try(lambda text=text: list(tokenizer(text)["input_ids"]))
    return Reader(name=type(tokenizer).__name__, facts=facts)


def _processor(folder: Path) -> Reader | None:
    from transformers import AutoProcessor, PreTrainedTokenizerBase

    if not any((folder / name).is_file() for name in _PROCESSORS):
        return None
    try:
        with quiet():
            loaded: Any = AutoProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # packages that are missing, damaged files: each part raises its own kind
        return Reader(problem=_short(error))
    if isinstance(loaded, PreTrainedTokenizerBase):
        return None
    parts: dict[str, Any] = {name: getattr(loaded, name, None) for name in getattr(loaded, "attributes", ())} or {
        "": loaded
    }
    facts: dict[str, Any] = {"class": type(loaded).__name__}
    for name, part in parts.items():
        tokens = isinstance(part, PreTrainedTokenizerBase)
        facts[name] = type(part).__name__ if tokens or not hasattr(part, "to_dict") else _try(part.to_dict)
    return Reader(name=type(loaded).__name__, facts=facts)


def _difference(before: Reader, after: Reader) -> str | None:
    differing = [name for name, fact in (before.facts or {}).items() if (after.facts or {}).get(name) != fact]
    return f"another {differing[0] or 'setting'}" if differing else None


def _try(ask: Any) -> Any:
    """The answer, or what is said instead: some tokenizers want more than a text, and then both say so."""
    try:
        return ask()
    except Exception as error:
        return _short(error)


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {reason_of(error, 200)}"
