"""Writing a PEFT adapter folder, and saying how good it is."""

import collections
import dataclasses
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress._folders import check_place, written_beside
from hf_compress._paths import in_public, public_names
from hf_compress._registry import dump
from hf_compress._version import __version__
from hf_compress.checkpoints.manifest import Manifest
from hf_compress.checkpoints.source import TensorInfo
from hf_compress.checkpoints.writer import ShardFile, lay_out
from hf_compress.merging.lora.adapter import PREFIX, WEIGHTS
from hf_compress.merging.lora.scale import CONFIG

AdapterType = Literal["float32", "bfloat16", "float16"]
Kind = Literal["matrix", "embedding", "convolution"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class NewLayer:
    """Factors to be written; their scale is 1, what scaled them is in B.

    Attributes:
        module: name of the module in the model.
        kind: as in `LoraLayer`.
        b: (O, R) fp32.
        a: (R, I) fp32, kernels flattened.
        kernel: the shape of A behind R: (I,), or (I, kernel...).
        bias: (O,) or None.
        norm: Frobenius norm of the change wanted.
        lost: Frobenius norm of the difference between it and B @ A.
    """

    module: str
    kind: Kind
    b: Tensor
    a: Tensor
    kernel: tuple[int, ...]
    bias: Tensor | None = None
    norm: float
    lost: float = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerError:
    """How well one layer's factors hold the change that was wanted.

    Attributes:
        rank: of the factors.
        norm: Frobenius norm of the change wanted.
        error: relative Frobenius norm of the difference, in [0, 1]; 0 for an exact one.
    """

    rank: int
    norm: float
    error: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoraResult:
    """What was written.

    Attributes:
        folder: the adapter.
        layers: by module name.
        error: relative Frobenius norm of the difference over all layers together: sqrt(sum lost^2 / sum norm^2). Of the
            fp32 factors: rounding them to another `dtype` when they are written comes on top.
        whole: parameters that are saved as a whole.
        lost: tensors whose change the adapter does not carry: name -> why.
        lost_norm: Frobenius norm of those changes together.
        num_parameters: of the adapter.
        loads: what loading it with PEFT said; "" where there was no model to load it into.
    """

    folder: Path
    layers: dict[str, LayerError]
    error: float
    whole: tuple[str, ...] = ()
    lost: dict[str, str] = dataclasses.field(default_factory=dict)
    lost_norm: float = 0.0
    num_parameters: int = 0
    loads: str = ""

    def summary(self) -> str:
        """What the command line says at the end."""
        ranks = sorted({layer.rank for layer in self.layers.values()})
        shown = f"rank {ranks[0]}" if len(ranks) == 1 else f"ranks {ranks[0]} to {ranks[-1]}" if ranks else "no factors"
        lines = [f"{len(self.layers)} layers, {shown}, {self.num_parameters} parameters; relative error {self.error:.3g}"]
        if self.layers:
            worst = max(self.layers, key=lambda name: self.layers[name].error)
            lines.append(f"worst layer {worst}: {self.layers[worst].error:.3g}")
        if self.whole:
            lines.append(f"saved whole: {', '.join(self.whole)}")
        if self.lost:
            lines.append(
                f"NOT carried (norm {self.lost_norm:.3g}): "
                + "; ".join(f"{name} ({reason})" for name, reason in self.lost.items())
            )
        lines += [self.loads] if self.loads else []
        return "\n".join([*lines, f"adapter  {self.folder}"])


def asked(job: Any, value: type) -> dict[str, Any]:
    """What a value asks for, as a recipe would say it.

    Args:
        job: the value, or a job that is one and has fields of its own.
        value: its class.
    """
    return {field.name: dump(getattr(job, field.name), full=True) for field in dataclasses.fields(value)}


def write_adapter(
    out: Path,
    layers: Sequence[NewLayer],
    *,
    whole: Mapping[str, Tensor],
    config: Mapping[str, Any],
    provenance: Mapping[str, Any],
    recipe: Mapping[str, Any],
    dtype: AdapterType = "float32",
    check: Callable[[Path], str] | None = None,
    lost: Mapping[str, str] | None = None,
    lost_norm: float = 0.0,
) -> LoraResult:
    """Write the folder beside its place and rename it.

    The scale of every layer is 1: alpha equals the rank, in the patterns too. Module names are anchored and escaped there,
    so that PEFT finds each one and no other.

    Args:
        out: the new folder; must not exist.
        layers: with factors.
        whole: parameter -> tensor, saved as a whole.
        config: further fields of adapter_config.json.
        provenance: for the header of the weight file.
        recipe: what was asked for, with the name of the job; for the manifest, which calls paths of this machine by their
            last parts.
        dtype: of the factors; whole tensors keep theirs.
        check: called with the written folder before it gets its name; what it returns is the result's `loads`.
        lost: of the result.
        lost_norm: of the result.

    Raises:
        CompressionError: `out` exists, the disk is full, or `dtype` is too small for the numbers.
    """
    check_place(out)
    tensors = {f"{PREFIX}{_inside(name, layers)}": tensor for name, tensor in whole.items()}
    for layer in layers:
        tensors |= _stored(layer, getattr(torch, dtype))
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise CompressionError(
                f"{name} has values that {dtype} cannot hold; write dtype float32, or smaller weights of the adapters"
            )
    ranks = collections.Counter(layer.a.shape[0] for layer in layers)
    rank = ranks.most_common(1)[0][0] if ranks else 1
    pattern = {f"^{re.escape(layer.module)}": layer.a.shape[0] for layer in layers if layer.a.shape[0] != rank}
    settings = {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": rank,
        "rank_pattern": pattern,
        "alpha_pattern": pattern,
        "use_rslora": False,
        "use_dora": False,
        "lora_dropout": 0.0,
        "lora_bias": any(layer.bias is not None for layer in layers),
        "bias": "none",
        "target_modules": sorted(layer.module for layer in layers),
        "inference_mode": True,
        **config,
    }
    about = {"hf_compress": json.dumps({"version": __version__, **provenance}, separators=(",", ":"))}
    wanted, missed = math.hypot(*(layer.norm for layer in layers)), math.hypot(*(layer.lost for layer in layers))
    with written_beside(out) as part:
        _write_tensors(part, tensors, about)
        (part / CONFIG).write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")
        result = LoraResult(
            folder=out,
            layers={
                layer.module: LayerError(
                    rank=layer.a.shape[0], norm=layer.norm, error=layer.lost / layer.norm if layer.norm else 0.0
                )
                for layer in layers
            },
            error=missed / wanted if wanted else 0.0,
            whole=tuple(sorted(whole)),
            lost=dict(lost or {}),
            lost_norm=lost_norm,
            num_parameters=sum(tensor.numel() for tensor in tensors.values()),
            loads="" if check is None else check(part),
        )
        _manifest(result, config, recipe, provenance).write(part)
    return result


def _manifest(
    result: LoraResult, config: Mapping[str, Any], recipe: Mapping[str, Any], provenance: Mapping[str, Any]
) -> Manifest:
    """What the adapter says of itself."""
    facts = {
        "base_model": config.get("base_model_name_or_path"),
        "task_type": config.get("task_type"),
        "adapter": {
            "ranks": sorted({layer.rank for layer in result.layers.values()}),
            "layers": len(result.layers),
            "parameters": result.num_parameters,
            "error": result.error,
            "saved_whole": list(result.whole),
            "lost": result.lost,
            "lost_norm": result.lost_norm,
            "load_back": result.loads,
        },
        "inputs": provenance["lora"]["inputs"],
    }
    names = public_names([dict(recipe), facts["base_model"]])
    public = in_public({"recipe": recipe, "facts": facts}, names)
    return Manifest(kind=recipe["job"], name=result.folder.name, **public)


def _inside(name: str, layers: Sequence[NewLayer]) -> str:
    """The name of a whole parameter in the file: PEFT wraps a layer with factors around the base's module."""
    owner, _, leaf = name.rpartition(".")
    return f"{owner}.base_layer.{leaf}" if any(layer.module == owner for layer in layers) else name


def _stored(layer: NewLayer, dtype: torch.dtype) -> dict[str, Tensor]:
    """The layer's tensors as PEFT names and shapes them."""
    rank, out = layer.a.shape[0], layer.b.shape[0]
    stem = f"{PREFIX}{layer.module}"
    if layer.kind == "embedding":
        found = {f"{stem}.lora_embedding_A": layer.a, f"{stem}.lora_embedding_B": layer.b}
    else:
        found = {
            f"{stem}.lora_A.weight": layer.a.reshape(rank, *layer.kernel),
            f"{stem}.lora_B.weight": layer.b.reshape(out, rank, *[1] * (len(layer.kernel) - 1)),
        }
    if layer.bias is not None:
        found[f"{stem}.lora_B.bias"] = layer.bias
    return {name: tensor.to(dtype).contiguous() for name, tensor in found.items()}


def _write_tensors(folder: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    infos = {name: TensorInfo(dtype=tensor.dtype, shape=tuple(tensor.shape)) for name, tensor in tensors.items()}
    size = sum(info.num_bytes for info in infos.values())
    shard = dataclasses.replace(lay_out(infos, size + 1, metadata).shards[0], file=WEIGHTS)
    file = ShardFile(folder, shard)
    try:
        for name, tensor in tensors.items():
            file.write(name, 0, tensor.contiguous())
    finally:
        file.close()
