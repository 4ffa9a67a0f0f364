"""Which files beside the weights belong to a checkpoint, by their names and by what its settings name."""

import fnmatch
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

VOCABULARIES = (
    "tokenizer.json",
    *("vocab*", "merges.txt", "added_tokens.json", "*.model", "*.tiktoken", "tokenizer.model.*"),
    *("tekken*.json", "*.spm", "bpe.codes", "dict.txt", "target_vocab.json", "prophetnet.tokenizer", "byte_maps.json"),
    *("entity_vocab.json", "word_shape.json", "word_pronunciation.json", "emoji.json"),
)
"""What the tokenizer classes of transformers 5.23 read tokens and their rules from (their `vocab_files_names`)."""
TOKENIZER = (*VOCABULARIES, "tokenizer*", "special_tokens_map.json", "*.jinja", "additional_chat_templates")
OTHERS = (
    *("generation_config.json", "normalizer.json", "chat_template.json"),
    *("*processor_config.json", "audio_tokenizer_config.json", "*_tokenizer"),
    *("speaker_embeddings_path.json", "speaker_embeddings", "alphabet.json", "language_model"),
)
"""What processors and models write beside the weights; processors with several tokenizers have a folder for each."""
_SETTINGS = ("config.json", "tokenizer_config.json", "processor_config.json", "preprocessor_config.json")
_WEIGHTS = (
    *("*.safetensors", "*.safetensors.index.json", "*.bin", "*.bin.index.json", "*.pt", "*.pth", "*.h5", "*.msgpack"),
    *("*.ckpt*", "*.gguf", "*.onnx", "*.onnx_data", "adapter_config.json"),
)
_NEVER = ("config.json", "compression.json", "README.md", "LICENSE*", ".*")
"""Written anew, or no part of what a program reads."""


def download_patterns() -> list[str]:
    """What a checkpoint on the Hub is fetched by; a name may also be that of a folder."""
    names = [*TOKENIZER, *OTHERS]
    return ["*.safetensors", "*.bin", "*.json", "*.py", *names, *(f"{name}/*" for name in names)]


def has_vocabulary(folder: Path) -> bool:
    """Whether a tokenizer could be loaded from the folder."""
    return (folder / "tokenizer_config.json").is_file() or bool(vocabulary_files(folder))


def vocabulary_files(folder: Path) -> list[Path]:
    """The files in it that hold tokens and their rules, sorted."""
    return sorted(file for file in folder.glob("*") if file.is_file() and _matches(file.name, VOCABULARIES))


def named_files(folder: Path, settings: Collection[str]) -> list[Path]:
    """Files beside these settings whose name is a value in them (a font, a table of its own class).

    Args:
        folder: of the checkpoint.
        settings: names of JSON files; those that are not there, or hold something else, name nothing.
    """
    values: set[str] = set()
    for name in settings:
        values |= _texts(_read(folder / name))
    files = {folder / value for value in values if Path(value).name == value and value not in ("", ".", "..")}
    return sorted(file for file in files if file.is_file() and not _matches(file.name, (*_WEIGHTS, *_NEVER)))


def names_code(folder: Path) -> bool:
    """Whether settings name a class in files beside them, without which the result does not load."""
    found = [_read(folder / name) for name in _SETTINGS]
    return any(isinstance(data, dict) and "auto_map" in data for data in found)


def left_behind(folder: Path, taken: Collection[Path]) -> list[str]:
    """What lies in a checkpoint's folder and does not go along, sorted; weights and texts about the model aside."""
    names = {file.name for file in taken}
    return sorted(
        entry.name
        for entry in folder.glob("*")
        if entry.name not in names and not _matches(entry.name, (*_WEIGHTS, *_NEVER))
    )


def _matches(name: str, patterns: Collection[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
    except (ValueError, RecursionError):  # whoever needs it says what is wrong with it
        return None


def _texts(data: Any) -> set[str]:
    """Short texts among the values, nested ones too."""
    found: set[str] = set()
    left = [data]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            left.extend(value.values())
        elif isinstance(value, list):
            left.extend(value)
        elif isinstance(value, str) and 0 < len(value) < 128 and "\0" not in value:
            found.add(value)
    return found
