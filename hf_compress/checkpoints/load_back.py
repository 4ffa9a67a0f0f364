"""A written checkpoint is loaded again before it counts: what plain transformers makes of it is what the model is.

Four questions, each answered by the name of what is wrong:

1. the files: is every tensor there, under its name, in its type and shape, bit for bit what was meant?
2. config.json: does every field say what the model's config says, the quantization settings included?
3. a fresh load by the model's class: is nothing missing, unexpected, of another shape or newly initialised (a warning only,
   in transformers), and is every tensor of the loaded model bit for bit the one that was written?
4. the forward: are the outputs of the loaded model on a small batch those of the model that was written?
"""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hf_compress._difference import difference
from hf_compress._errors import reason_of
from hf_compress._modules.rounded_buffers import in_place_of, rounded_buffers, say_rounded
from hf_compress._problems import and_more
from hf_compress._quiet import quiet
from hf_compress._sharding.contract import loading_whole
from hf_compress.checkpoints.outputs import _said, compare_outputs
from hf_compress.checkpoints.stored import (
    WRITE_AGAIN,
    compare_files,
    compare_tensor,
    refuse,
)

logger = logging.getLogger(__name__)


def load_back(model: Any, folder: Path, example: Mapping[str, Any] | None = None, place: Path | None = None) -> str:
    """Refuse a folder that does not hold the model, by the name of the first thing that differs.

    Costs one packing, one reading of the files, one loading (memory for the weights as stored, and for the dense ones in
    the forward) and two forwards of a small batch, on the model's device.

    Args:
        model: a transformers model, dense or converted, as it was when `folder` was written; only read.
        folder: what `model.save_pretrained` wrote.
        example: a batch for `model(**example)`, on any device; by default one made from the config.
        place: how refusals call the folder.

    Returns:
        A sentence for the log: what was compared.

    Raises:
        CompressionError: see the module.
    """
    place = place or folder
    meant = meant_tensors(model)
    compare_files(folder, on_disk(model, meant), place)
    compare_config(folder, model, place)
    fresh = load_fresh(model, folder, place)
    widened = compare_loaded(fresh, loaded_tensors(model, meant), place)
    del meant
    rounded = rounded_buffers(model, fresh)
    say_rounded(rounded)
    with in_place_of(model, rounded):
        outputs = compare_outputs(model, fresh, example, place, widened)
    sentence = f"{place} loads as {type(model).__name__}, every tensor as written; {outputs}"
    logger.info(sentence)
    return sentence


def meant_tensors(model: Any) -> dict[str, Tensor]:
    """What a checkpoint of the model holds, by the model's names: its state dict, packed where it is quantized."""
    quantizer = getattr(model, "hf_quantizer", None)
    packed = quantizer.get_state_dict_and_metadata(model)[0] if quantizer is not None else None
    return dict(model.state_dict() if packed is None else packed)


def loaded_tensors(model: Any, meant: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What plain transformers makes of that checkpoint: the same, or dense weights where its config says so."""
    quantizer: Any = getattr(model, "hf_quantizer", None)
    return dict(quantizer.loaded_state(model, meant) if hasattr(quantizer, "loaded_state") else meant)


def on_disk(model: Any, meant: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same by the names on disk, which differ for some architectures (ViT, mixtures of experts)."""
    from transformers.core_model_loading import revert_weight_conversion

    left_out = getattr(model, "_keys_to_ignore_on_save", None) or ()
    return dict(revert_weight_conversion(model, {key: value for key, value in meant.items() if key not in left_out}))


def compare_config(folder: Path, model: Any, place: Path) -> None:
    """Refuse a config.json that is not the model's config, naming the first field."""
    try:
        stored = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        refuse(place, f"config.json cannot be read ({reason_of(error)}); {WRITE_AGAIN}")
    found = difference(stored, json.loads(model.config.to_json_string()))
    if found is not None:
        refuse(place, f"config.json is not the model's config: {found}; {WRITE_AGAIN}")


def load_fresh(model: Any, folder: Path, place: Path) -> Any:
    """The folder loaded by the model's class, refused where transformers only warns."""
    from transformers import __version__

    cls = type(model)
    scheme = getattr(model, "hf_quantizer", None)
    way_out = (
        f"transformers {__version__} does not load this architecture in this scheme; take another scheme (W8A8), add the"
        " module to quantization.ignore, or leave the quantization out"
        if scheme is not None
        else f"transformers {__version__} does not load what it wrote; report it with the architecture's name"
    )
    options: dict[str, Any] = {"output_loading_info": True, "ignore_mismatched_sizes": True, "local_files_only": True}
    attention = _attention(model.config)
    if attention[""] is not None:
        options["attn_implementation"] = attention
    if getattr(model, "hf_device_map", None):
        options["device_map"] = model.hf_device_map
    with quiet(), loading_whole():
        try:
            fresh, info = cls.from_pretrained(folder, trust_remote_code=False, **options)
        except Exception as error:  # each architecture refuses in its own way
            refuse(place, f"the written checkpoint does not load as {cls.__name__} ({_said(error)}); {way_out}")
    for what, names in (
        ("is missing in the files and would be a random weight", info["missing_keys"]),
        ("is in the files and unknown to the class", info["unexpected_keys"]),
        ("has another shape in the files", [item[0] for item in info["mismatched_keys"]]),
        ("is wrong", info["error_msgs"]),
    ):
        if names:
            refuse(place, f"loaded as {cls.__name__}, {and_more(sorted(names), 3)} {what}; {way_out}")
    return fresh


def _attention(config: Any) -> dict[str, Any]:
    """How attention is computed, by parts of the config, as `from_pretrained` takes it: kernels round differently."""
    parts = {key: getattr(config, key, None) for key in config.sub_configs}
    found = {key: getattr(part, "_attn_implementation", None) for key, part in parts.items()}
    own = getattr(config, "_attn_implementation", None)
    return {"": own, **{key: kind for key, kind in found.items() if kind is not None}}


def compare_loaded(fresh: nn.Module, meant: Mapping[str, Tensor], place: Path) -> list[str]:
    """Refuse a loaded model one of whose tensors is another than what was written.

    Returns:
        The names of those that transformers loads in a wider type, where every value stays what it is.
    """
    loaded = fresh.state_dict()
    widened: list[str] = []
    way_out = "transformers loads something else than it wrote; store the model in one type (dtype='float32'), or report it"
    for name in meant.keys() - loaded.keys():
        refuse(place, f"{name} is not in the loaded model; {way_out}")
    for name, tensor in loaded.items():
        if name not in meant:
            refuse(place, f"{name} is in the loaded model and not in the one that was written; {way_out}")
        expected = meant[name]
        row = _zeroed_row(fresh, name, tensor, expected)
        if row is not None:
            refuse(
                place,
                f"row {row} of {name} is padding, which transformers sets to zero when it loads this class; do so in the"
                " model too (its weight.data[row] = 0) and save it again",
            )
        if tensor.dtype != expected.dtype and torch.promote_types(tensor.dtype, expected.dtype) == tensor.dtype:
            widened.append(name)
            expected = expected.to(tensor.dtype)
        compare_tensor(f"{name} as loaded", tensor, expected, place, way_out)
    return widened


def _zeroed_row(fresh: nn.Module, name: str, loaded: Tensor, meant: Tensor) -> int | None:
    """The padding row of an embedding (or of a head tied to it), where it is zero as loaded and was not as written."""
    rows = [module.padding_idx for module in fresh.modules() if isinstance(module, nn.Embedding)]
    for row in rows if loaded.dim() == 2 and loaded.shape == meant.shape else ():
        if row is not None and row < len(loaded) and not loaded[row].any() and meant[row].any():
            return row
    return None
