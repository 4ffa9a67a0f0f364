"""The difference between two models as a LoRA adapter."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from hf_compress._errors import CompressionError
from hf_compress._folders import check_place
from hf_compress._modules.matching import DEFAULT_IGNORE, match_modules
from hf_compress._modules.module_kind import in_groups, is_transposed, kind_of, multiplying_classes
from hf_compress.checkpoints.dequantized import dense_source
from hf_compress.checkpoints.hashes import sha256_of
from hf_compress.checkpoints.location import resolve_folder
from hf_compress.checkpoints.names import ModelNames
from hf_compress.checkpoints.source import Source, open_source
from hf_compress.merging.lora.check import verify_peft_loads
from hf_compress.merging.lora.factors import check_size, factorize, keyed_generator
from hf_compress.merging.lora.rest import Rest, find_rest
from hf_compress.merging.lora.write import AdapterType, Kind, LoraResult, NewLayer, write_adapter
from hf_compress.merging.members.common_names import unify
from hf_compress.tasks.heads import head_of_class

_HEADS = {
    "SEQ_CLS": ("classifier", "score"),
    "TOKEN_CLS": ("classifier", "score"),
    "QUESTION_ANS": ("qa_outputs",),
}
"""Task -> ends of the names that PEFT takes for modules_to_save: each must then be in the adapter, whole."""


def extract_lora(
    base: str | Path,
    tuned: str | Path,
    out: str | Path,
    *,
    rank: int | None = None,
    energy: float | None = None,
    targets: Sequence[str] | None = None,
    ignore: Sequence[str] = DEFAULT_IGNORE,
    rest: Literal["save", "report"] = "save",
    seed: int = 0,
    dtype: AdapterType = "float32",
) -> LoraResult:
    """Write the adapter that turns `base` into `tuned`, as well as factors of the given rank can.

    Of every targeted weight, tuned - base (fp32) is decomposed by the randomized singular value decomposition
    (`randomized_svd`), B = U sqrt(S), A = sqrt(S) V^T, scale 1. The error is measured on the full difference. Layers
    that do not differ are left out. One layer at a time is in memory.

    Args:
        base: folder or Hub id; compressed-tensors weights are unpacked.
        tuned: folder or Hub id of a model of the same architecture; as above.
        out: the new folder.
        rank: of every layer at most; a layer whose smaller dimension is below it gets that.
        energy: the share of the squared norm that each layer keeps at least, in (0, 1]; ranks then differ.
        targets: class names, module names or `re:` patterns; None = all Linear and Conv1D whose weight is not shared.
            Embedding, Conv1d, Conv2d and Conv3d can be named.
        ignore: the same syntax, wins over `targets`; by default output heads.
        rest: what happens to other weights that differ: "save" puts them into the adapter whole (modules_to_save, and
            biases of targeted layers) where PEFT can carry them, "report" leaves them out. Either way the result's `lost`
            names what the adapter does not carry.
        seed: of the random vectors; every layer draws its own, so the order does not matter.
        dtype: of the factors.

    Raises:
        CompressionError: models that do not fit together, or do not differ; a rank that no layer has.

    Source: Halko, Martinsson and Tropp 2011, algorithms 4.4 and 5.1.
    """
    out = Path(out)
    check_place(out)
    if rank is None and energy is None:
        raise CompressionError("neither rank nor energy is given; give one, e.g. rank=16 or energy=0.95")
    check_size(rank, energy)
    before = dense_source(open_source(resolve_folder(str(base), "base"), "base"))
    after = dense_source(open_source(resolve_folder(str(tuned), "tuned"), "tuned"))
    after, before = unify([after, before]).sources
    pair = _Pair(before, after)
    layers, skipped = [], {}
    left_out = ignore if targets else (*ignore, *pair.tied())
    modules = match_modules(pair.model, targets or pair.present(multiplying_classes()), left_out, "extract-adapter")
    pair.require_rank(modules, rank)
    for name, module in modules.items():
        difference = pair.difference(f"{name}.weight")
        if difference is None:
            skipped[f"{name}.weight"] = "stored together with other weights"
        elif bool(difference.count_nonzero()):
            layers.append(_extract(name, module, difference, rank, energy, seed))
    found = find_rest(pair.model, pair.names, before, after, pair.base_names, modules, save=rest == "save")
    if not layers:
        raise CompressionError(
            f"{base} and {tuned} do not differ in any targeted layer, and PEFT loads no adapter without one; change targets"
        )
    config = {
        "base_model_name_or_path": str(base),
        "task_type": pair.task(found.modules),
        "fan_in_fan_out": any(is_transposed(module) for module in modules.values()),
        "modules_to_save": list(found.modules) or None,
        "bias": "all" if found.biases else "none",
    }
    hashes = {source.label: {file.name: sha256_of(file) for file in source.files()} for source in (before, after)}
    settings = {"rank": rank, "energy": energy, "seed": seed, "torch": torch.__version__}
    result = write_adapter(
        out,
        layers,
        whole=found.whole,
        config=config,
        provenance={"lora": {"extract": settings, "inputs": hashes}},
        dtype=dtype,
        check=lambda folder: verify_peft_loads(folder, pair.model, [layer.module for layer in layers], out),
    )
    return _with_lost(result, found, skipped)


class _Pair:
    """Both checkpoints under the parameter names of the tuned model's class."""

    def __init__(self, before: Source, after: Source) -> None:
        self.before, self.after = before, after
        self.names = ModelNames(after.config, after.infos, after.place)
        if self.names.model is None:
            raise CompressionError(
                f"{after.place}: config.json names no class that transformers has, so its layers are not known; an adapter"
                " needs them"
            )
        self.model: nn.Module = self.names.model
        self.base_names = ModelNames(after.config, before.infos, before.place)

    def task(self, whole: Sequence[str]) -> str | None:
        """PEFT's name of what the class is for; None where PEFT would look for a head that is not saved whole."""
        head = head_of_class(type(self.model).__name__)
        task = None if head is None else head.peft
        heads = {name for name, _ in self.model.named_modules() if name.endswith(_HEADS.get(task or "", ()))}
        return task if heads <= set(whole) else None

    def present(self, names: Sequence[str]) -> list[str]:
        """Those of the classes that the model has."""
        classes = {type(module).__name__ for module in self.model.modules()}
        return [name for name in names if name in classes]

    def tied(self) -> list[str]:
        """Modules that share their weight with another."""
        return sorted({name.rpartition(".")[0] for pair in self.names.tied.items() for name in pair})

    def require_rank(self, modules: dict[str, nn.Module], rank: int | None) -> None:
        """Refuse a rank above the smaller dimension of every targeted layer."""
        most = 0
        for name, module in modules.items():
            weight = getattr(module, "weight", None)
            if not isinstance(weight, Tensor) or weight.dim() < 2:
                raise CompressionError(
                    f"extract-adapter: {name} ({type(module).__name__}) has no weight matrix; target Linear, Conv1D,"
                    " Embedding or convolutions"
                )
            most = max(most, min(weight.flatten(1).shape))
        if rank is not None and rank > most:
            raise CompressionError(f"rank={rank} is more than any targeted layer has; the highest possible is {most}")

    def difference(self, parameter: str) -> Tensor | None:
        """The change, tuned - base, in fp32; None where the weight is stored rearranged."""
        if parameter in self.names.rearranged or parameter in self.base_names.rearranged:
            return None
        tensors = []
        for names, source in ((self.names, self.after), (self.base_names, self.before)):
            if parameter not in names.tensor_of:
                raise CompressionError(
                    f"{source.place} has no tensor for {parameter}; the two are different"
                    " architectures, or add the layer to ignore"
                )
            tensors.append(source.read(names.tensor_of[parameter]))
        tuned, base = tensors
        if tuned.shape != base.shape:
            raise CompressionError(
                f"{parameter} is {list(base.shape)} in {self.before.place} and {list(tuned.shape)} in {self.after.place};"
                " the two are different architectures, or add the layer to ignore"
            )
        difference = tuned.to(torch.float32, copy=True).sub_(base)
        if not bool(torch.isfinite(difference).all()):
            raise CompressionError(f"{parameter} holds NaN or infinity in one of the models")
        return difference


def _extract(
    name: str, module: nn.Module, difference: Tensor, rank: int | None, energy: float | None, seed: int
) -> NewLayer:
    known = kind_of(module)
    kind: Kind = "matrix"
    if known is not None and not known.multiplies:
        kind = "embedding"
    elif known is not None and known.has_kernel:
        kind = "convolution"
        if in_groups(module):
            raise CompressionError(
                f"extract-adapter: {name} is a convolution in groups, which LoRA has no factors for; ignore it"
            )
    matrix = (difference.flatten(1) if known is None else known.matrix(difference)).contiguous()
    b, a, lost = factorize(matrix, keyed_generator(seed, name), rank=rank, energy=energy)
    kernel = (matrix.shape[1],) if kind != "convolution" else tuple(difference.shape[1:])
    norm = float(torch.linalg.vector_norm(difference, dtype=torch.float64))
    return NewLayer(module=name, kind=kind, b=b, a=a, kernel=kernel, norm=norm, lost=lost)


def _with_lost(result: LoraResult, rest: Rest, skipped: dict[str, str]) -> LoraResult:
    """The result with what the adapter does not carry."""
    return dataclasses.replace(result, lost={**skipped, **rest.lost}, lost_norm=math.sqrt(rest.lost_square))
