"""Averages on disk: an ordinary checkpoint, and beside it the exact state that a resumed run goes on from."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from hf_compress._errors import CompressionError
from hf_compress._folders import remove, replace
from hf_compress._sharding.contract import local, shard, whole
from hf_compress.training.averaging.average import Average
from hf_compress.training.averaging.tensors import averaged_tensors, fingerprint, unwrapped

FOLDER = "averaged"
"""Below a checkpoint and below output_dir; not the average itself, because PEFT takes a subfolder with adapter weights for
another adapter of the checkpoint."""
STATE = Path("state", "average.safetensors")
"""In an average's folder: every averaged tensor in fp32 under its name in the model; the counts are in its metadata."""


def write_model(model: nn.Module, tensors: dict[str, Tensor], folder: Path, processing_class: Any = None) -> None:
    """Write what `from_pretrained` reads: config, safetensors and, where there is one, the tokenizer or processor.

    A model that is no transformers or PEFT model becomes `model.safetensors` alone, as the Trainer writes it.

    Args:
        model: says how to write; its own weights are not read.
        tensors: the full state dict.
        folder: written beside its place and renamed; neither it nor the folder it lies in may be a symbolic link.
        processing_class: the Trainer's.

    Raises:
        CompressionError: a symbolic link lies where it is to be written.
    """
    inner: Any = unwrapped(model)
    partial = folder.with_name(f"_{folder.name}")
    remove(partial, below=folder.parent.parent)
    partial.mkdir(parents=True)
    if hasattr(inner, "save_pretrained"):
        inner.save_pretrained(partial, state_dict=tensors)
    else:
        untied = {name: tensor.clone() for name, tensor in tensors.items()}
        save_file(untied, partial / "model.safetensors", metadata={"format": "pt"})
    if hasattr(processing_class, "save_pretrained"):
        processing_class.save_pretrained(partial)
    replace(partial, folder)


def write_average(
    average: Average, model: nn.Module, folder: Path, settings: dict[str, Any], processing_class: Any, writes: bool
) -> None:
    """Write the averaged model and its state. Every process must call it; those with `writes` write."""
    tensors = average.state_dict(model, keep=writes)
    current = averaged_tensors(model, average.buffers, average.tensors)
    state = {}
    for name, tensor in current.items():
        full = whole(average.tensors[name], like=tensor).cpu()
        if writes:
            state[name] = full
    if not writes:
        return
    facts = {
        "settings": json.dumps(settings, sort_keys=True),
        "num_points": str(average.num_points),
        "fingerprint": fingerprint(averaged_tensors(model, False, average.tensors)),
    }
    partial = folder.with_name(f"_{folder.name}")
    write_model(model, tensors, partial, processing_class)
    (partial / STATE).parent.mkdir()
    save_file(state, partial / STATE, metadata=facts)
    replace(partial, folder)


def read_average(average: Average, model: nn.Module, folder: Path, settings: dict[str, Any], check_weights: bool) -> None:
    """Fill `average` from a folder that `write_average` wrote.

    Args:
        average: changed in place.
        model: holds the weights of the same checkpoint.
        folder: of the average.
        settings: of this run.
        check_weights: compare the model's weights with those the average was saved with; for the first process.

    Raises:
        CompressionError: it was taken with other settings, belongs to other weights, is damaged or incomplete.
    """
    file = folder / STATE
    try:
        with safe_open(file, framework="pt") as stored:
            facts = stored.metadata()
            _check_settings(json.loads(facts["settings"]), settings, folder)
            current = averaged_tensors(model, average.buffers, stored.keys())
            if set(current) != set(stored.keys()):
                odd = sorted(set(current) ^ set(stored.keys()))[0]
                raise CompressionError(
                    f"{file} and the model do not hold the same tensors, first {odd}; freeze the same parameters as"
                    " in the run that wrote it"
                )
            if check_weights and facts["fingerprint"] != fingerprint(averaged_tensors(model, False, stored.keys())):
                raise CompressionError(
                    f"{folder} was saved with other weights than the model has: resume from the checkpoint it lies in (set"
                    " TrainingArguments.resume_from_checkpoint to that folder), and for models whose weights the plain"
                    " Trainer does not restore (ViT, Mixtral: transformers#48805) use CompressionTrainer"
                )
            average.tensors = {
                name: average.adopt(local(tensor)).copy_(shard(stored.get_tensor(name), like=tensor))
                for name, tensor in current.items()
            }
            average.num_points = int(facts["num_points"])
    except (SafetensorError, OSError, KeyError, json.JSONDecodeError) as error:
        raise CompressionError(f"{file} is damaged ({error}); resume from an earlier checkpoint") from error


def _check_settings(known: dict[str, Any], wanted: dict[str, Any], folder: Path) -> None:
    for name in sorted(set(known) | set(wanted)):
        if known.get(name) != wanted.get(name):
            raise CompressionError(
                f"{folder} was averaged with {name}={known.get(name)!r} and this run has {name}={wanted.get(name)!r};"
                " resume with the same settings (points as steps), or start a new output_dir"
            )
