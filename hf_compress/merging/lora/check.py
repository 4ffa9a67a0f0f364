"""Whether PEFT reads a written adapter as it was meant: on the model without its weights."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import nn

from hf_compress._errors import CompressionError, reason_of
from hf_compress._problems import and_more
from hf_compress._quiet import quiet
from hf_compress.merging.lora.adapter import WEIGHTS


def verify_peft_loads(folder: Path, model: nn.Module, modules: Sequence[str], place: Path | None = None) -> str:
    """Load the adapter with PEFT and compare names, shapes, layers and scales with what is in the file.

    Args:
        folder: the adapter.
        model: of the class it is for, on the meta device; PEFT puts its layers into it.
        modules: that have factors of scale 1.
        place: how refusals call the folder; by default as it is.

    Returns:
        A sentence for the report.

    Raises:
        CompressionError: PEFT does not load it, leaves a tensor out, wants one more, or puts factors elsewhere.
    """
    from peft import PeftModel, get_peft_model_state_dict

    place = place or folder
    stored = {name: tuple(tensor.shape) for name, tensor in load_file(folder / WEIGHTS).items()}
    try:
        with quiet():
            options: dict[str, Any] = {"low_cpu_mem_usage": True, "torch_device": "cpu"}
            loaded: Any = PeftModel.from_pretrained(model, folder, trust_remote_code=False, **options)  # type: ignore[arg-type]
            wanted = get_peft_model_state_dict(loaded, save_embedding_layers=False)
    except Exception as error:  # PEFT and each architecture refuse in their own ways
        reason = reason_of(error)
        raise CompressionError(f"{place}: PEFT does not load the adapter: {reason}") from error
    read = {name: tuple(tensor.shape) for name, tensor in {**loaded.state_dict(), **wanted}.items()}
    scales = {
        name.removeprefix("base_model.model."): dict(module.scaling)
        for name, module in loaded.named_modules()
        if isinstance(getattr(module, "scaling", None), dict) and module.scaling
    }
    problems = [
        *(f"{name} of the file is read nowhere" for name in sorted(stored.keys() - read.keys())),
        *(f"{name} is {list(read[name])} there and {list(stored[name])} in the file" for name in _differing(stored, read)),
        # With bias="all" every bias of the model counts as the adapter's, and those that are not stored stay the base's.
        *(f"{name} is missing" for name in sorted(wanted.keys() - stored.keys()) if not name.endswith(".bias")),
        *(f"{name} gets factors" for name in sorted(scales.keys() - set(modules))),
        *(f"{name} gets no factors" for name in sorted(set(modules) - scales.keys())),
        *(
            f"{name} has the scales {scale}, not 1"
            for name, scale in sorted(scales.items())
            if set(scale.values()) != {1.0}
        ),
    ]
    if problems:
        raise CompressionError(f"{place}: PEFT reads the adapter otherwise than it is meant: {and_more(problems)}")
    return f"loads in PEFT: {len(scales)} layers, nothing missing, nothing unexpected"


def _differing(stored: dict[str, tuple[int, ...]], read: dict[str, tuple[int, ...]]) -> list[str]:
    return sorted(name for name, shape in stored.items() if read.get(name, shape) != shape)
