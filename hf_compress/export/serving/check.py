"""Whether vLLM will take a folder: every rule asked, every answer said."""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from hf_compress._errors import CompressionError
from hf_compress._problems import problems_of
from hf_compress.checkpoints.dequantized import DequantizedSource, quantization_method
from hf_compress.checkpoints.location import resolve_folder
from hf_compress.checkpoints.names import ModelNames
from hf_compress.checkpoints.source import Source, open_source
from hf_compress.export.serving import rules
from hf_compress.export.serving.schemes import served_as

ARCHITECTURE = "whether this release of vLLM has {name} is not known here: see its list of supported models"
LARGE = "weights are float32; vLLM loads them in 16 bits unless it is told --dtype float32"


@dataclass(frozen=True, kw_only=True)
class Serving:
    """What is known without vLLM.

    Attributes:
        place: the folder.
        kind: "dense", or the kinds of quantized layers and how many there are.
        problems: for which vLLM refuses the folder, or reads it wrong.
        notes: what must be minded.
    """

    place: str
    kind: str
    problems: tuple[str, ...]
    notes: tuple[str, ...]

    def summary(self) -> str:
        """For a terminal, where there is no problem."""
        lines = [f"{self.place}: nothing speaks against serving it with vLLM ({self.kind})", *self.notes]
        return "\n- ".join(lines)

    def refuse(self) -> None:
        """Raise what speaks against it.

        Raises:
            CompressionError: a line for each problem.
        """
        if self.problems:
            raise CompressionError("\n".join(f"{self.place}: {problem}" for problem in self.problems))


def check_serving(model: str | Path) -> Serving:
    """Ask every rule of a folder's headers and config.json; weights stay on disk.

    Keys, types and shapes of what compressed-tensors stores are held against its config by `DequantizedSource`; what vLLM
    asks beyond that are the `rules`.

    Args:
        model: a folder or Hub id.

    Raises:
        CompressionError: there is no checkpoint of transformers.
    """
    folder = resolve_folder(str(model), "model")
    source = open_source(folder, "model")
    classes = source.config.get("architectures") or []
    if not classes:
        raise CompressionError(
            f"model: {folder}/config.json names no architecture, and vLLM chooses by it; save the model anew"
        )
    notes = [ARCHITECTURE.format(name=classes[0])]
    if any(
        info.dtype.itemsize == 4 and info.dtype.is_floating_point and len(info.shape) > 1 for info in source.infos.values()
    ):
        notes.append(LARGE)
    method = quantization_method(source)
    if method is None:
        return Serving(place=str(model), kind="dense", problems=(), notes=tuple(notes))
    if method != "compressed-tensors":
        problem = f"it is quantized with {method!r}, whose rules are not known here; ask vLLM's own documentation"
        return Serving(place=str(model), kind=method, problems=(problem,), notes=tuple(notes))
    settings = source.config["quantization_config"]
    problems = [*rules.cache(settings), *rules.sparsity(settings), *rules.known_formats(settings)]
    if problems:
        return Serving(place=str(model), kind=method, problems=tuple(problems), notes=tuple(notes))
    # Which was looked at, and says nothing about weights.
    source.config = {**source.config, "quantization_config": {**settings, "kv_cache_scheme": None}}
    try:
        quantized = DequantizedSource(source)
    except CompressionError as error:
        found = tuple(one.message for one in problems_of(error))
        return Serving(place=str(model), kind=method, problems=found, notes=tuple(notes))
    return _quantized(str(model), source, quantized, notes)


def _quantized(place: str, source: Source, quantized: DequantizedSource, notes: list[str]) -> Serving:
    schemes = {name: quantized.scheme(name) for name in quantized.quantized}
    shapes = {name: quantized.infos[f"{name}.weight"].shape for name in schemes}
    modules = [name.removesuffix(".weight") for name, info in quantized.infos.items() if name.endswith(".weight")]
    problems = [
        *rules.known_schemes(schemes),
        *rules.group_sizes(schemes),
        *rules.divisible(schemes, shapes),
        *rules.fused(schemes, modules),
        *rules.heads(schemes, bool(source.config.get("tie_word_embeddings")), _ends(source)),
    ]
    kinds: dict[str, int] = {}
    for scheme in schemes.values():
        served = served_as(scheme)
        if served is not None:
            kinds[served.name] = kinds.get(served.name, 0) + 1
            if served.note and served.note not in notes:
                notes.append(served.note)
    notes += rules.padded(schemes, shapes)
    kind = ", ".join(f"{count} layers of {name}" for name, count in kinds.items()) or "quantized"
    return Serving(place=place, kind=kind, problems=tuple(problems), notes=tuple(notes))


def _ends(source: Source) -> list[str]:
    """Names of embeddings and of the head that predicts tokens, as the class has them."""
    model = ModelNames(source.config, source.infos, source.place).model
    if model is None:
        return []
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None  # type: ignore[operator]
    return [name for name, module in model.named_modules() if isinstance(module, nn.Embedding) or module is head]
