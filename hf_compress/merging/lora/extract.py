"""The difference between two models as a LoRA adapter."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from hf_compress._errors import CompressionError
from hf_compress._folders import check_place
from hf_compress._modules.matching import DEFAULT_IGNORE
from hf_compress._modules.module_kind import in_groups, is_transposed, kind_of
from hf_compress.checkpoints.dequantized import dense_source
from hf_compress.checkpoints.hashes import sha256_of
from hf_compress.checkpoints.location import resolve_folder
from hf_compress.checkpoints.source import Source, open_source
from hf_compress.merging.lora.check import verify_peft_loads
from hf_compress.merging.lora.factors import check_size, factorize, keyed_generator
from hf_compress.merging.lora.pair import Pair
from hf_compress.merging.lora.rest import find_rest
from hf_compress.merging.lora.write import AdapterType, Kind, LoraResult, NewLayer, asked, write_adapter
from hf_compress.recipe.checks import Check, Checked, Opener


def _needs_a_size(rank: int | None, energy: float | None) -> None:
    if rank is None and energy is None:
        raise CompressionError("neither rank nor energy is given; give one, e.g. rank=16 or energy=0.95")


def before(base: str) -> Source:
    """The model before, opened."""
    return dense_source(open_source(resolve_folder(base, "base"), "base"))


def after(tuned: str) -> Source:
    """The model after, opened."""
    return dense_source(open_source(resolve_folder(tuned, "tuned"), "tuned"))


def pair(
    before: Source, after: Source, ignore: Sequence[str], targets: Sequence[str] | None = None, rank: int | None = None
) -> Pair:
    """Both, found to fit together as far as their headers say."""
    found = Pair(before, after, targets, ignore)
    found.check(rank)
    return found


@dataclass(frozen=True, kw_only=True)
class AdapterExtraction(Checked):
    """What fine-tuning changed, as factors.

    Of every targeted weight, tuned - base (fp32) is decomposed by the randomized singular value decomposition
    (`randomized_svd`), B = U sqrt(S), A = sqrt(S) V^T, scale 1. The error is measured on the full difference. Layers
    that do not differ are left out. One layer at a time is in memory.

    Attributes:
        base: folder or Hub id of the model before; compressed-tensors weights are unpacked.
        tuned: folder or Hub id of the model after, of the same architecture; as above.
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

    Source: Halko, Martinsson and Tropp 2011, algorithms 4.4 and 5.1.
    """

    base: str
    tuned: str
    rank: int | None = None
    energy: float | None = None
    targets: tuple[str, ...] | None = None
    ignore: tuple[str, ...] = DEFAULT_IGNORE
    rest: Literal["save", "report"] = "save"
    seed: int = 0
    dtype: AdapterType = "float32"

    checks: ClassVar[tuple[Check, ...]] = (_needs_a_size, check_size)
    opens: ClassVar[tuple[Opener, ...]] = (before, after, pair)


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
    """Write to `out` the adapter that turns `base` into `tuned`, as well as factors of the given rank can.

    `AdapterExtraction` has the formula, and says what each argument does.

    Raises:
        CompressionError: models that do not fit together, or do not differ; a rank that no layer has.
    """
    check_place(Path(out))
    extraction = AdapterExtraction(
        base=str(base),
        tuned=str(tuned),
        rank=rank,
        energy=energy,
        targets=targets,  # type: ignore[arg-type]
        ignore=ignore,  # type: ignore[arg-type]
        rest=rest,
        seed=seed,
        dtype=dtype,
    )
    return write_difference(extraction, extraction.open()["pair"], Path(out))


def write_difference(extraction: AdapterExtraction, pair: Pair, out: Path) -> LoraResult:
    """Write the adapter.

    Args:
        extraction: what to keep.
        pair: what it opened.
        out: the new folder.

    Raises:
        CompressionError: the models do not differ, or hold NaN.
    """
    rank, energy = extraction.rank, extraction.energy
    layers, skipped = [], {}
    for name, module in pair.modules.items():
        difference = pair.difference(f"{name}.weight")
        if difference is None:
            skipped[f"{name}.weight"] = "stored together with other weights"
        elif bool(difference.count_nonzero()):
            layers.append(_extract(name, module, difference, rank, energy, extraction.seed))
    before, after = pair.before, pair.after
    found = find_rest(pair.model, pair.names, before, after, pair.base_names, pair.modules, save=extraction.rest == "save")
    if not layers:
        raise CompressionError(
            f"{extraction.base} and {extraction.tuned} do not differ in any targeted layer, and PEFT loads no adapter"
            " without one; change targets"
        )
    config = {
        "base_model_name_or_path": extraction.base,
        "task_type": pair.task(found.modules),
        "fan_in_fan_out": any(is_transposed(module) for module in pair.modules.values()),
        "modules_to_save": list(found.modules) or None,
        "bias": "all" if found.biases else "none",
    }
    hashes = {source.label: {file.name: sha256_of(file) for file in source.files()} for source in (before, after)}
    settings = {"rank": rank, "energy": energy, "seed": extraction.seed, "torch": torch.__version__}
    return write_adapter(
        out,
        layers,
        whole=found.whole,
        config=config,
        provenance={"lora": {"extract": settings, "inputs": hashes}},
        recipe={"job": "extract-adapter", **asked(extraction, AdapterExtraction)},
        dtype=extraction.dtype,
        check=lambda folder: verify_peft_loads(folder, pair.model, [layer.module for layer in layers], out),
        lost={**skipped, **found.lost},
        lost_norm=math.sqrt(found.lost_square),
    )


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
