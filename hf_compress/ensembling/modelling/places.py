"""Where members are: folders, repositories of the Hub at a commit, subfolders of an ensemble, or memory."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import transformers
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from transformers import AutoConfig, GenerationConfig, PreTrainedConfig
from transformers.utils.hub import cached_file

from hf_compress._errors import CompressionError, reason_of
from hf_compress.ensembling.modelling.config import EnsembleConfig, own_config
from hf_compress.ensembling.modelling.heads import auto_class_of

KINDS: list[Any] = []
"""The classes of ensembles in this code, which transformers may not know."""
Place = dict[str, Any]
"""`model`, a folder or Hub id, with `revision`, `subfolder` and what else a download needs."""


def place_of(member: Any) -> Place | None:
    """Where a member is to be loaded from; None for a loaded model.

    Raises:
        CompressionError: a mapping without a model or with unknown keys.
    """
    if isinstance(member, str | os.PathLike):
        return {"model": os.fspath(member)}
    if not isinstance(member, Mapping):
        return None
    unknown = [key for key in member if key not in ("model", "revision", "subfolder")]
    if unknown or "model" not in member:
        raise CompressionError(
            f"a member is given as {dict(member)!r}; write a folder, a Hub id or {{model: id, revision: commit}}"
        )
    return dict(member)


def pinned(place: Place) -> Place:
    """A place on the Hub at the commit that it stands at; as it is where the Hub cannot be asked, or for a folder."""
    if Path(str(place["model"])).is_dir():
        return place
    try:
        commit = HfApi().model_info(str(place["model"]), revision=place.get("revision")).sha
    except (OSError, ValueError, HfHubHTTPError, OfflineModeIsEnabled):
        return place
    return {**place, "revision": commit or place.get("revision")}


def default_names(members: Sequence[Any], places: Sequence[Place | None]) -> list[str]:
    """What folders, repositories or models are called; numbered where that says nothing or is there twice."""
    names: list[str] = []
    for number, (member, place) in enumerate(zip(members, places, strict=True)):
        whole = str(place["model"]) if place else str(getattr(member.config, "name_or_path", "") or "")
        name = Path(whole.rstrip("/")).name or f"member-{number}"
        names.append(name if name not in names else f"{name}-{number}")
    return names


def load_member(name: str, place: Place, auto_class: str | None, **options: Any) -> Any:
    """A member with its weights, or what `output_loading_info` adds to it.

    Args:
        name: for messages.
        place: where it is.
        auto_class: of its head; read from its config where it is None.
        options: of `from_pretrained`.

    Raises:
        CompressionError: it is not there, or transformers cannot load it.
    """
    where = _at(place)
    model = where.pop("model")
    try:
        config = config_at(model, where)
        head = auto_class or head_of_config(config)
        kind = loader(head, config)
        made = kind.from_pretrained(model, config=config, trust_remote_code=False, **where, **options)
        # Below a folder or repository transformers calls it by that, and packed members are copied from where they lie.
        (made[0] if isinstance(made, tuple) else made).name_or_path = str(
            Path(str(cached_file(model, "config.json", **where))).parent
        )
        return made
    except CompressionError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        shown = Path(str(model)) / (where.get("subfolder") or "")
        here = shown.is_absolute() or str(model).startswith(".") or Path(str(model)).is_dir()
        said = "no such folder" if here and not shown.is_dir() else reason_of(error)
        raise CompressionError(f"member {name!r}: {shown} cannot be loaded: {said}") from error


def _at(place: Place) -> Place:
    """As transformers takes it: of a folder below a folder it would read the generation config of the one above."""
    where = {key: value for key, value in place.items() if value not in (None, "")}
    if where.get("subfolder") and Path(str(where["model"])).is_dir():
        where["model"] = str(Path(str(where["model"])) / where.pop("subfolder"))
    return where


def generation_config_at(place: Place) -> GenerationConfig | None:
    """How the model there generates; None where it does not say."""
    where = _at(place)
    try:
        return GenerationConfig.from_pretrained(where.pop("model"), **where)  # type: ignore[no-any-return]
    except OSError:
        return None


def config_at(model: Any, where: Place) -> PreTrainedConfig:
    """A member's config; of an ensemble too, whether transformers knows its kind or not."""
    plain, _ = PreTrainedConfig.get_config_dict(model, **where)
    own = own_config(plain.get("model_type", ""))
    if own is not None:
        return own.from_pretrained(model, trust_remote_code=False, **where)
    return AutoConfig.from_pretrained(model, trust_remote_code=False, **where)  # type: ignore[no-any-return]


def config_like(kind: Any, model: Any, where: Place) -> Any:
    """The config of an ensemble, by a class of configs or by one below it, as its file says."""
    plain, _ = PreTrainedConfig.get_config_dict(model, **where)
    own = own_config(plain.get("model_type", ""))
    chosen = own if own is not None and issubclass(own, kind) else kind
    return chosen.from_pretrained(model, trust_remote_code=False, **where)


def loader(auto_class: str, config: PreTrainedConfig) -> Any:
    """What loads a member: the Auto class of its head, or the class of an ensemble."""
    for kind in KINDS:
        if kind.config_class is type(config):
            return kind.kind_for(auto_class, getattr(config, "input_groups", None))
    return getattr(transformers, auto_class)


def head_of_config(config: PreTrainedConfig) -> str:
    """The Auto class of the model that was saved with this config.

    Raises:
        CompressionError: it does not say which class it was, or one that cannot be a member.
    """
    if isinstance(config, EnsembleConfig):
        return str(config.auto_class)
    architectures = getattr(config, "architectures", None) or []
    if not architectures:
        raise CompressionError("its config.json names no architecture; pass auto_class=")
    return auto_class_of(architectures[0])


def member_place(path: Any, subfolder: str, facts: Mapping[str, Any], hub: Mapping[str, Any]) -> dict[str, Any]:
    """Where a saved ensemble's member is: beside its config, or on the Hub by itself."""
    if "folder" in facts:
        return {"model": path, "subfolder": f"{subfolder}/{facts['folder']}".lstrip("/"), **hub}
    if "model" in facts:
        own = {key: facts[key] for key in ("model", "revision", "subfolder") if facts.get(key)}
        return {**hub, **own}
    raise CompressionError(f"{path}: config.json does not say where member {facts['name']!r} is")


def facts_of(name: str, model: Any, place: Place | None) -> dict[str, Any]:
    """What an ensemble's config says of a member: its name and config, and where it is, if that is on the Hub."""
    config = {key: value for key, value in model.config.to_dict().items() if not key.startswith("_")}
    facts: dict[str, Any] = {"name": name, "config": config}
    if place and not Path(str(place["model"])).is_dir():
        facts |= {"model": str(place["model"]), "revision": place.get("revision")}
        facts |= {"subfolder": place["subfolder"]} if place.get("subfolder") else {}
    return facts


def joined_infos(infos: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What loading said of all members, each key with its member's place before it."""
    joined: dict[str, Any] = {}
    for place, info in enumerate(infos):
        for kind, found in info.items():
            if isinstance(found, set | list):
                joined.setdefault(kind, []).extend(f"members.{place}.{key}" for key in sorted(map(str, found)))
    return joined
