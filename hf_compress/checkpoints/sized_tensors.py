"""Which tensors of a checkpoint grow with a setting of its config: the vocabulary's and the labels'.

The model class is built twice without memory, once with the setting one larger; the tensors whose shape differs are the
answer. So nothing is guessed from names: embeddings, tied or separate heads, per-token biases and multi-layer classifiers
of any architecture are found, and in the names and the layout that the checkpoint has on disk.
"""

import copy
import functools
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, Literal

import torch

from hf_compress._errors import CompressionError, reason_of
from hf_compress._model_size import bounded_modules
from hf_compress.checkpoints.architecture import model_class
from hf_compress.checkpoints.names import ModelNames
from hf_compress.checkpoints.source import Source

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

Setting = Literal["vocab_size", "num_labels"]


def known(source: Source) -> bool:
    """Whether config.json names an architecture of transformers; others are compared by what their config.json says."""
    from transformers import CONFIG_MAPPING

    return source.config.get("model_type") in CONFIG_MAPPING


def config_of(source: Source) -> "PreTrainedConfig":
    """The source's config as transformers' object.

    Raises:
        CompressionError: there is none, or it belongs to no architecture of transformers.
    """
    from transformers import CONFIG_MAPPING

    kind = str(source.config.get("model_type"))
    if not known(source):
        raise CompressionError(
            f"{source.place}: config.json has model_type={kind!r}, which transformers does not know; models with code of"
            " their own merge only where all vocabularies and label sets are equal"
        )
    try:
        return CONFIG_MAPPING[kind].from_dict(copy.deepcopy(source.config))
    except Exception as error:  # every config class checks its values in its own way
        reason = reason_of(error)
        raise CompressionError(f"{source.place}/config.json is not a valid config of {kind}: {reason}") from error


def vocabulary_path(config: "PreTrainedConfig") -> tuple[str, ...] | None:
    """Where `vocab_size` stands in the config: () at the top, ("text_config",) inside; None without a vocabulary."""
    text = config.get_text_config()
    if getattr(text, "vocab_size", None) is None:
        return None
    return _path_to(config, text)


def vocabulary_size(source: Source) -> int | None:
    """Rows of the source's embeddings, padding included; None for models without a vocabulary."""
    if not known(source):
        size = source.config.get("vocab_size", (source.config.get("text_config") or {}).get("vocab_size"))
        return size if type(size) is int else None
    config = config_of(source)
    return config.get_text_config().vocab_size if vocabulary_path(config) is not None else None


def sized_tensors(source: Source, setting: Setting) -> dict[str, int]:
    """The tensors that follow the setting: name on disk -> the dimension that does.

    Tied tensors appear once, under the name the checkpoint has them by.

    Raises:
        CompressionError: the architecture is unknown, config.json names no class and there are tensors of a head,
            or a tensor follows the setting in two dimensions.
    """
    config = config_of(source)
    if setting == "vocab_size" and vocabulary_path(config) is None:
        return {}
    larger = copy.deepcopy(config)
    owner = larger.get_text_config() if setting == "vocab_size" else larger
    setattr(owner, setting, getattr(owner, setting) + 1)
    before, prefix = _shapes_on_disk(config, source)
    after, _ = _shapes_on_disk(larger, source)
    if model_class(source.config) is None:
        _check_bare(source, before, prefix)
    found: dict[str, int] = {}
    renamed = _other_names(source)
    for name in sorted(before.keys() & after.keys()):
        if before[name] == after[name]:
            continue
        grown = [axis for axis, sizes in enumerate(zip(before[name], after[name], strict=True)) if sizes[0] != sizes[1]]
        if len(grown) != 1:
            raise CompressionError(
                f"{source.place}: {name} follows {setting} in {len(grown)} dimensions, and one is supported"
            )
        # A checkpoint of the bare encoder lacks the prefix its class with a head has, and the other way round.
        candidates = (name, f"{prefix}.{name}", name.removeprefix(f"{prefix}."))
        stored = next((candidate for candidate in candidates if candidate in source.infos), None) or renamed(name)
        if stored is not None:
            found[stored] = grown[0]
    return found


def _other_names(source: Source) -> Callable[[str], str | None]:
    """Name that the class writes -> the tensor of the source that is loaded as the same, under another release's name."""

    @functools.cache
    def known() -> tuple[ModelNames, dict[str | None, str]]:
        names = ModelNames(source.config, source.infos, source.place)
        return names, {names.identity(name): name for name in source.infos}

    def renamed(name: str) -> str | None:
        names, by_identity = known()
        identity = names.identity(name)
        return None if identity is None else by_identity.get(identity)

    return renamed


def _check_bare(source: Source, names: Collection[str], prefix: str) -> None:
    """Without a class the bare encoder was built, which says nothing about a head."""
    for name in source.infos:
        if name not in names and name.removeprefix(f"{prefix}.") not in names:
            raise CompressionError(
                f"{source.place}/config.json names no class of transformers in architectures, so what {name} follows cannot"
                " be found out; name the class there"
            )


def _path_to(config: "PreTrainedConfig", target: "PreTrainedConfig") -> tuple[str, ...] | None:
    if config is target:
        return ()
    for key in getattr(config, "sub_configs", {}):
        below = getattr(config, key, None)
        path = _path_to(below, target) if below is not None else None
        if path is not None:
            return (key, *path)
    return None


def _shapes_on_disk(config: "PreTrainedConfig", source: Source) -> tuple[dict[str, tuple[int, ...]], str]:
    """What `save_pretrained` would write for this config, and the name under which the class holds its encoder."""
    import transformers
    from transformers.core_model_loading import revert_weight_conversion

    names = config.architectures or []
    cls = model_class(source.config)
    try:
        with torch.device("meta"), bounded_modules():
            model: Any = (
                cls(config) if cls is not None else transformers.AutoModel.from_config(config, trust_remote_code=False)
            )
        state = revert_weight_conversion(model, model.state_dict())
    except Exception as error:  # any of the many model classes may refuse a config in its own way
        reason = reason_of(error)
        raise CompressionError(
            f"{source.place}: {names[0] if names else config.model_type} cannot be built from config.json ({reason}); the"
            " tensors that belong to the vocabulary or the labels are found by building it"
        ) from error
    return {name: tuple(tensor.shape) for name, tensor in state.items()}, model.base_model_prefix
