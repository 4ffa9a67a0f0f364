"""Everything of a checkpoint that is not a weight: config, tokenizer, processors, generation config, chat template."""

import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hf_compress._errors import CompressionError
from hf_compress._paths import local_folder
from hf_compress.checkpoints.companion_names import OTHERS, TOKENIZER, named_files, names_code
from hf_compress.checkpoints.source import read_settings
from hf_compress.checkpoints.special_floats import encode_floats

logger = logging.getLogger(__name__)


def copy_companions(source: Path, out: Path, *, tokenizer: bool = True) -> list[str]:
    """Copy the companion files of a checkpoint; those that exist in `out` already stay.

    Args:
        source: a checkpoint.
        out: where to.
        tokenizer: copy the tokenizer's files; False where the result has another one.

    Returns:
        The names of what was copied, sorted.
    """
    copied = []
    for file in companions(source, tokenizer=tokenizer):
        target = out / file.name
        if target.exists():
            continue
        if file.is_dir():
            shutil.copytree(file, target)
        else:
            shutil.copyfile(file, target)
        copied.append(file.name)
    return sorted(copied)


def companions(source: Path, *, tokenizer: bool = True) -> list[Path]:
    """The companion files of a checkpoint's folder, sorted.

    Args:
        source: the folder.
        tokenizer: also those of its tokenizer.
    """
    patterns = [*OTHERS, *(TOKENIZER if tokenizer else ()), *(["*.py"] if names_code(source) else [])]
    settings = ["processor_config.json", "preprocessor_config.json", *(["tokenizer_config.json"] if tokenizer else [])]
    found = {file for pattern in patterns for file in source.glob(pattern) if not _is_model(file)}
    return sorted(found | set(named_files(source, settings)) | set(_sentence_modules(source)))


def _is_model(entry: Path) -> bool:
    """A folder with weights is another model, whatever it is called."""
    return entry.is_dir() and any(entry.rglob("*.safetensors"))


def _sentence_modules(source: Path) -> list[Path]:
    """What makes a checkpoint a sentence-transformers model: its list of modules, their settings, and pooling.

    Modules with weights of their own (dense layers) are no part of a merge, and the list is wrong without them.
    """
    file = source / "modules.json"
    if not file.is_file():
        return []
    try:
        paths = [Path(module["path"]).as_posix() for module in json.loads(file.read_text(encoding="utf-8"))]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise CompressionError(
            f"{file} is not a list of sentence-transformers modules; write or download it again"
        ) from error
    folders = [source / path for path in paths if Path(path).name == path != ".." and local_folder(str(source / path))]
    weighty = [folder.name for folder in folders if [*folder.rglob("*.safetensors"), *folder.rglob("*.bin")]]
    if weighty:
        logger.warning("%s: %s has weights of its own, which are not merged; modules.json is left out", source, weighty[0])
        return []
    settings = [*source.glob("sentence_*_config.json"), *source.glob("config_sentence_transformers.json")]
    return [file, *settings, *folders]


def most_frequent_chat_template(folders: Sequence[Path]) -> str | None:
    """The template that most of the folders have, of equally many the first; white space around it does not count."""
    found = [template.strip() for template in map(_chat_template, dict.fromkeys(folders)) if template is not None]
    return max(found, key=found.count, default=None)


def write_chat_template(template: str, out: Path) -> None:
    """Give the result's tokenizer a chat template.

    Args:
        template: in Jinja.
        out: the result's folder, its tokenizer already in it.
    """
    (out / "chat_template.jinja").write_text(template, encoding="utf-8")
    settings = out / "tokenizer_config.json"
    if settings.is_file():
        data = read_settings(settings)
        if data.pop("chat_template", None) is not None:  # one place, one template
            settings.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _chat_template(folder: Path) -> str | None:
    """The default template of the tokenizer in a folder: a file of its own, or a field of its settings."""
    file, settings = folder / "chat_template.jinja", folder / "tokenizer_config.json"
    if file.is_file():
        try:
            return file.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise CompressionError(f"{file} is not UTF-8 text; write or download it again") from error
    if not settings.is_file():
        return None
    template = read_settings(settings).get("chat_template")
    if isinstance(template, list):  # several by name
        template = next(
            (item.get("template") for item in template if isinstance(item, dict) and item.get("name") == "default"), None
        )
    return template if isinstance(template, str) else None


def write_config(config: dict[str, Any], changes: dict[str, Any], dtype: str | None, out: Path) -> dict[str, Any]:
    """config.json of the result.

    Args:
        config: of the base or the first member; {} writes nothing.
        changes: fields that the merge decides (vocabulary, labels, layers); a value of None removes the field.
        dtype: the stored type where all tensors share one.
        out: the result's folder.
    """
    if not config:
        return {}
    merged = {**config, **changes}
    merged = {key: value for key, value in merged.items() if value is not None or key not in changes}
    merged.pop("quantization_config", None)
    if dtype is not None:
        merged.pop("torch_dtype", None)
        merged["dtype"] = dtype
    (out / "config.json").write_text(json.dumps(encode_floats(merged), indent=2) + "\n")
    return merged
