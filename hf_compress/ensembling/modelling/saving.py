"""An ensemble on disk and on the Hub."""

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, HfApi

from hf_compress._errors import CompressionError
from hf_compress.ensembling.modelling.code import CODE_FILE, code_text
from hf_compress.ensembling.modelling.processors import JOINED, processor_loader

_COMMIT = ("commit_message", "commit_description", "revision", "create_pr")


def save_ensemble(
    ensemble: Any,
    save_directory: str | os.PathLike[str],
    is_main_process: bool = True,
    state_dict: dict[str, Any] | None = None,
    push_to_hub: bool = False,
    *,
    references: bool = False,
    max_shard_size: int | str = "50GB",
    **kwargs: Any,
) -> None:
    """Write an ensemble's folder; `Ensemble.save_pretrained` says what the arguments are.

    The config is written last: a folder that was cut short does not load.
    """
    if push_to_hub:
        repo_id = kwargs.pop("repo_id", None) or Path(save_directory).name
        upload(ensemble, repo_id, references=references, max_shard_size=max_shard_size, **kwargs)
    if not is_main_process:
        return
    folder = Path(save_directory)
    folder.mkdir(parents=True, exist_ok=True)
    facts = []
    for number, (known, member) in enumerate(zip(ensemble.config.members, ensemble.members, strict=True)):
        if references:
            facts.append(_reference(known))
            continue
        place = f"member-{number}"
        _save_member(member, folder / place, _part(state_dict, f"members.{number}."), max_shard_size)
        if ensemble.by_text:
            ensemble.tokenizers[number].save_pretrained(folder / place)
        facts.append({"name": known["name"], "folder": place, "config": known["config"]})
    ensemble.save_own_parts(folder, state_dict)
    if ensemble.processor is not None:
        _save_processor(ensemble, folder)
    if ensemble.can_generate():
        ensemble.generation_config.save_pretrained(folder)
    (folder / CODE_FILE).write_text(code_text(), encoding="utf-8")
    _write_config(ensemble, folder, facts)


def upload(
    ensemble: Any, repo_id: str, *, private: bool | None = None, token: str | bool | None = None, **kwargs: Any
) -> Any:
    """Save an ensemble into a folder of its own and bring all of it to the Hub in one commit; the commit's facts."""
    commit = {key: kwargs.pop(key) for key in _COMMIT if key in kwargs}
    api = HfApi(token=token)
    with tempfile.TemporaryDirectory() as place:
        save_ensemble(ensemble, place, **kwargs)
        files = sorted(path for path in Path(place).rglob("*") if path.is_file())
        operations = [
            CommitOperationAdd(path_in_repo=path.relative_to(place).as_posix(), path_or_fileobj=path) for path in files
        ]
        name = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        return api.create_commit(name, operations, commit_message=commit.pop("commit_message", "Upload ensemble"), **commit)


def _reference(known: dict[str, Any]) -> dict[str, Any]:
    if not known.get("model") or not known.get("revision"):
        raise CompressionError(
            f"member {known['name']!r} did not come from the Hub at a known commit, so no reference finds it again; save"
            " its weights with the ensemble (references=False)"
        )
    return known


def _save_member(member: Any, folder: Path, state_dict: dict[str, Any] | None, max_shard_size: int | str) -> None:
    """Packed members are copied as they were loaded: their weights are not trained, and unpack while they run."""
    source = Path(str(getattr(member, "name_or_path", "") or ""))
    if getattr(member.config, "quantization_config", None) is not None and _is_of(source, member):
        shutil.copytree(source, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".*", "checkpoint-*", "*.md"))
        return
    member.save_pretrained(folder, state_dict=state_dict, max_shard_size=max_shard_size)


def _is_of(folder: Path, member: Any) -> bool:
    """Whether a folder holds the model that says it came from there: a loaded one may have come from below it."""
    try:
        plain = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return "quantization_config" in plain and plain.get("model_type") == member.config.model_type


def _part(state_dict: dict[str, Any] | None, prefix: str) -> dict[str, Any] | None:
    if state_dict is None:
        return None
    return {key.removeprefix(prefix): value for key, value in state_dict.items() if key.startswith(prefix)}


def _save_processor(ensemble: Any, folder: Path) -> None:
    """With the name of its class, where that is one of this code's."""
    ensemble.processor.save_pretrained(folder)
    loader = processor_loader(str(ensemble.config.auto_class))
    kind = type(ensemble.processor).__name__
    if kind not in {one.__name__ for one in JOINED.values()}:
        return
    tokenizer = loader == "AutoTokenizer"
    path = folder / ("tokenizer_config.json" if tokenizer else "preprocessor_config.json")
    plain = json.loads(path.read_text(encoding="utf-8"))
    name = f"{Path(CODE_FILE).stem}.{kind}"
    plain["auto_map"] = {loader: [None, name] if tokenizer else name}
    path.write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")


def _write_config(ensemble: Any, folder: Path, members: list[dict[str, Any]]) -> None:
    plain = ensemble.config.to_dict()
    code = Path(CODE_FILE).stem
    plain |= {
        "members": members,
        "architectures": [type(ensemble).__name__],
        "auto_map": {
            "AutoConfig": f"{code}.{type(ensemble.config).__name__}",
            str(ensemble.config.auto_class): f"{code}.{type(ensemble).__name__}",
        },
    }
    if ensemble.pipelines:
        plain["custom_pipelines"] = {
            task: {"impl": f"{code}.{kind}", "pt": [ensemble.config.auto_class]}
            for task, kind in ensemble.pipelines.items()
        }
    text = json.dumps({key: value for key, value in plain.items() if not key.startswith("_")}, indent=2, sort_keys=True)
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")
