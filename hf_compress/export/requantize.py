"""Quantizing a merged model again the way its members were, with the error stated."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from hf_compress._errors import CompressionError
from hf_compress._folders import refuse_existing
from hf_compress._modules.matrix import weight_matrix
from hf_compress.checkpoints.architecture import model_class
from hf_compress.checkpoints.dequantized import DequantizedSource
from hf_compress.export.formats.compressed_tensors import save_compressed
from hf_compress.quantization.configuration import Quantization
from hf_compress.quantization.fake_quantize import fake_quantize_weight
from hf_compress.quantization.fitting import check_model
from hf_compress.quantization.groups import Group, assigned
from hf_compress.quantization.ptq import quantize
from hf_compress.quantization.reach import loading_advice
from hf_compress.quantization.scheme import Scheme, scheme_of

if TYPE_CHECKING:
    from compressed_tensors.quantization import QuantizationScheme


@dataclass(frozen=True, kw_only=True)
class Requantized:
    """What requantizing did to the weights.

    Attributes:
        scheme: the name of the scheme, or of several.
        layers: module -> |Q(W) - W| / |W| (Frobenius), W the merged weight.
        overall: the same over all quantized weights together.
        members: label -> the rounding error its own quantization is expected to have, |Q(V) - V| / |V| for its unknown
            original V, from its scales: a uniform error has the variance step^2 / 12.
        loading: what the result asks of those who load it; empty for nothing.
    """

    scheme: str
    layers: Mapping[str, float]
    overall: float
    members: Mapping[str, float] = field(default_factory=dict)
    loading: str = ""

    def to_plain(self, full: bool = True) -> dict[str, Any]:
        """For the manifest."""
        return {
            "scheme": self.scheme,
            "relative_error": self.overall,
            "members_expected_error": dict(self.members),
            **({"loading": self.loading} if self.loading else {}),
            **({"layers": dict(self.layers)} if full else {}),
        }


def quantization_of(config: Mapping[str, Any]) -> Quantization:
    """The library's setting that a compressed-tensors config.json describes.

    Args:
        config: config.json as plain data.

    Raises:
        CompressionError: it is not quantized, or uses a scheme that this library does not write.
    """
    from compressed_tensors.quantization import QuantizationConfig

    data = config.get("quantization_config")
    if not data or data.get("quant_method") != "compressed-tensors":
        raise CompressionError(
            "config.json has no compressed-tensors quantization_config, so there is no scheme to take over"
        )
    settings = QuantizationConfig.model_validate(dict(data))
    ignore = tuple(settings.ignore or ())
    # A group of which everything is ignored quantizes nothing: the export marks dense experts by one, and writes it again.
    groups = [group for group in settings.config_groups.values() if not set(group.targets) <= set(ignore)]
    if not groups:
        raise CompressionError(
            "quantization_config has no group that quantizes anything, so there is no scheme to take over; quantize the"
            " merged model with quantize() and a scheme of your choice"
        )
    taken = tuple(Group(scheme=_known(group), targets=tuple(group.targets)) for group in groups)
    return Quantization(groups=taken, ignore=ignore)


def _known(group: "QuantizationScheme") -> Scheme:
    scheme = scheme_of(group)
    if scheme is not None:
        return scheme
    how = "" if group.weights is None else f"{group.weights.num_bits}-bit {group.weights.type}, {group.weights.strategy}"
    raise CompressionError(
        f"the members' scheme ({how or 'no weights'}) is not one of"
        f" {', '.join(Scheme.available())}; quantize the merged model with quantize() and one of these"
    )


def requantize(
    folder: str | Path, out: str | Path, config: Mapping[str, Any], members: Mapping[str, DequantizedSource] | None = None
) -> Requantized:
    """Quantize the merged dense model like its members, by rounding to nearest, and write it.

    Args:
        folder: the merged model, dense.
        out: the folder to write; must not exist, appears only when everything is written.
        config: config.json of the member whose scheme, targets and ignore list are taken over.
        members: the quantized members by label, for their own expected errors.

    Raises:
        CompressionError: see `quantization_of`; a layer does not fit the scheme; or `out` exists.
    """
    refuse_existing(Path(out))
    quantization = quantization_of(config)
    model = _load(Path(folder))
    errors: dict[str, tuple[float, float]] = {}
    modules = check_model(model, quantization).modules
    for name, place in assigned(modules, quantization.parts).items():
        args = quantization.parts[place].scheme.to_compressed_tensors([]).weights
        assert args is not None
        weight = weight_matrix(modules[name]).data
        errors[name] = _square(fake_quantize_weight(weight, args) - weight), _square(weight)
    quantize(model, quantization)
    save_compressed(model, out, _processor(Path(folder)))  # type: ignore[arg-type]
    return Requantized(
        scheme=" and ".join(scheme.name for scheme in quantization.schemes),
        layers={name: _relative(*pair) for name, pair in errors.items()},
        overall=_relative(sum(error for error, _ in errors.values()), sum(size for _, size in errors.values())),
        members={label: expected_error(source) for label, source in (members or {}).items()},
        loading=loading_advice(model),
    )


def expected_error(source: DequantizedSource) -> float:
    """sqrt(sum step^2 / 12 / sum w^2) over the quantized weights of one member.

    The step of integers is the scale; that of float8 (E4M3) is scale * 2^(floor(log2 |w / scale|) - 3), at least
    scale * 2^-9, its spacing near zero.
    """
    error = size = 0.0
    for module in source.quantized:
        weight = source.read(f"{module}.weight").double()
        scale = source.scale(module).double()
        args = source.scheme(module).weights
        assert args is not None
        if scale.dim() == 2 and scale.shape[1] > 1:
            scale = scale.repeat_interleave(args.group_size or 1, dim=1)[:, : weight.shape[1]]
        step = scale.expand_as(weight)
        if args.type == "float":
            step = step * torch.exp2(torch.frexp(weight / step).exponent.clamp_min(-5).double() - 4)
        error += float((step * step).sum()) / 12
        size += float((weight * weight).sum())
    return _relative(error, size)


def _square(tensor: Tensor) -> float:
    return float(tensor.double().square().sum())


def _relative(error: float, size: float) -> float:
    return math.sqrt(error / size) if size else 0.0


def _load(folder: Path) -> nn.Module:
    """The model by the class its config names, in the type it is stored in."""
    import transformers

    config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
    cls = model_class(config.to_dict()) or transformers.AutoModel
    loaded: nn.Module = cls.from_pretrained(folder, dtype="auto", trust_remote_code=False)
    return loaded


def _processor(folder: Path) -> Any:
    """What turns inputs into tensors for this model, to be written beside it; None where the folder has nothing."""
    from transformers import AutoProcessor

    return AutoProcessor.from_pretrained(folder, trust_remote_code=False) if has_processor(folder) else None


def has_processor(folder: Path) -> bool:
    """Whether AutoProcessor finds something in it."""
    names = ("tokenizer_config.json", "preprocessor_config.json", "processor_config.json")
    return any((folder / name).is_file() for name in names)
