"""Programs that other runtimes run: what `transformers.exporters` makes of a model, and the way back."""

import contextlib
import importlib.util
import io
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hf_compress._errors import CompressionError, reason_of
from hf_compress._modules.modes import evaluating_without_gradients
from hf_compress._quiet import quiet
from hf_compress.checkpoints.traced_batches import batches_to_trace
from hf_compress.checkpoints.weight_files import PROGRAMS
from hf_compress.ensembling.modelling.cascade import Cascade
from hf_compress.ensembling.modelling.in_graph import BRANCHES, branches

logger = logging.getLogger(__name__)

BACKENDS: dict[str, tuple[str, ...]] = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("openvino",),
    "executorch": ("executorch",),
}
"""Backend of `transformers.exporters` -> the packages that it and its runtime need."""
EXTRA = "hf-compress[export]"
TOLERANCE = 1e-4
"""Of the largest output: runtimes add up products in fp32 in another order; measured are 1e-7 to 1e-5."""


def missing_packages(backend: str) -> str:
    """What to install before a backend works; empty where all is there."""
    needed = ("transformers.exporters", *BACKENDS[backend])  # transformers has it since 5.23
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    return f"{backend} needs {', '.join(missing)}; install {EXTRA}" if missing else ""


def refuse_unexportable(model: Any, backend: str) -> None:
    """Refuse what an exporter cannot take, before it is asked.

    Raises:
        CompressionError: a package is missing, the model is quantized, or its weights have 16 bits.
    """
    missing = missing_packages(backend)
    if missing:
        raise CompressionError(missing)
    for name, module in model.named_modules():
        if getattr(module, "quantization_scheme", None) is not None or getattr(module, "qat_scheme", None) is not None:
            raise CompressionError(
                f"{name} is quantized, and exporters of transformers do not take modules of compressed-tensors; export the"
                " dense or pruned model, or write compressed-tensors"
            )
    if model.dtype != torch.float32:
        dtype = str(model.dtype).removeprefix("torch.")
        raise CompressionError(
            f"the model is stored in {dtype}, in which runtimes of {backend} do not compute everywhere; write it with"
            " dtype: float32"
        )


@dataclass(frozen=True, kw_only=True)
class Program:
    """What an exporter made of a model.

    Attributes:
        exported: an `ExportedModel` of transformers.
        asked: of a cascade, whom its graph asks, as a sentence; empty of other models.
    """

    exported: Any
    asked: str = ""


def export_model(model: Any, backend: str, example: Mapping[str, Any] | None = None) -> Program:
    """One graph of the forward pass, without a cache, for any number of rows and, where it is open, any length.

    Args:
        model: dense, in fp32; stays as it is.
        backend: a key of `BACKENDS`.
        example: see `batches_to_trace`.

    Raises:
        CompressionError: see `refuse_unexportable` and `batches_to_trace`, or the exporter does not take the architecture.
    """
    from torch.export import Dim
    from transformers.exporters.auto import AutoHfExporter

    refuse_unexportable(model, backend)
    first, second = batches_to_trace(model, example)
    shapes = {
        name: {
            axis: Dim.AUTO
            for axis, (one, other) in enumerate(zip(value.shape, second[name].shape, strict=True))
            if one != other
        }
        for name, value in first.items()
    }
    config = {"export_format": backend, "dynamic": True, "dynamic_shapes": shapes}
    ways = list(BRANCHES) if any(isinstance(module, Cascade) for module in model.modules()) else ["none"]
    if len(ways) > 1:  # at its first call a model of transformers takes a lock, and no branch of a graph does
        with evaluating_without_gradients(model), _without_cache(model.config):
            model(**first)
    refused = ""
    for way in ways:
        try:
            with silent(), evaluating_without_gradients(model), _without_cache(model.config), branches(way):
                exported = AutoHfExporter.from_config(config).export(model, dict(first), config)
        except Exception as error:  # each architecture fails in its own way, in any of four libraries
            if way == ways[-1]:
                raise CompressionError(
                    f"{type(model).__name__} cannot be exported for {backend} by transformers: {reason_of(error)}; write"
                    " another format"
                ) from error
            refused = refused or reason_of(error)
            logger.debug("exported for %s with branches for %s: %s", backend, way, reason_of(error))
        else:
            asked = BRANCHES[way] if len(ways) > 1 else ""
            asked += f" (that rows leave is refused by the exporter: {refused})" if refused else ""
            if asked:
                logger.log(logging.WARNING if refused else logging.INFO, "in this graph %s", asked)
            if backend == "onnx":
                _leave_out_traces(exported)
            return Program(exported=exported, asked=asked)
    raise AssertionError  # the last way returns or raises


def _leave_out_traces(exported: Any) -> None:
    """Every node says which lines of which files it came from: paths of this machine, and in branches most of the bytes."""
    for component in exported.components.values():
        for graph in (component.program.graph, *component.program.functions.values()):
            for node in graph.all_nodes():
                node.metadata_props.pop("pkg.torch.onnx.stack_trace", None)


def load_exported(folder: Path, precision: str | None = "f32") -> Any:
    """What `ExportedModel.save_pretrained` wrote, ready on a processor: called with a batch it answers as the model does.

    Args:
        folder: with export.json.
        precision: OpenVINO's `INFERENCE_PRECISION_HINT`; None leaves the choice to it, and some processors then compute in
            bfloat16.

    Raises:
        CompressionError: it cannot be read, or a package is missing.
    """
    from transformers.exporters.base import ExportedModel

    backend = backend_of(folder)
    missing = missing_packages(backend)
    if missing:
        raise CompressionError(missing)
    try:
        with silent():
            options = runner_options(backend, precision)
            return ExportedModel.from_pretrained(folder, device="cpu", trust_remote_code=False, **options)
    except Exception as error:  # each runtime refuses in its own way
        raise CompressionError(f"{folder} does not load in its runtime ({reason_of(error)}); export it again") from error


def backend_of(folder: Path) -> str:
    """The key of `BACKENDS` by which a folder was exported.

    Raises:
        CompressionError: it was not, or by another.
    """
    try:
        backend = json.loads((folder / PROGRAMS).read_text(encoding="utf-8"))["export_format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CompressionError(
            f"{folder} holds no exported program: {PROGRAMS} cannot be read ({reason_of(error)}); name a folder"
            " that was exported"
        ) from error
    if backend not in BACKENDS:
        raise CompressionError(
            f"{folder} was exported for {str(backend)[:50]!r}, which nothing here loads; export it for"
            f" {', '.join(BACKENDS)}"
        )
    return str(backend)


def refuse_program(folder: Path, key: str) -> None:
    """Refuse a program that nothing here runs, before it is loaded.

    Raises:
        CompressionError: at `key`; see `load_exported`.
    """
    try:
        missing = missing_packages(backend_of(folder))
    except CompressionError as error:
        raise CompressionError(f"{key}: {error}") from error
    if missing:
        raise CompressionError(f"{key}: {missing}")


def runner_options(backend: str, precision: str | None) -> dict[str, Any]:
    """What an `ExportedModel` is loaded with: as many threads as torch has, so that both stand on the same ground.

    Args:
        backend: a key of `BACKENDS`.
        precision: see `load_exported`.
    """
    threads = torch.get_num_threads()
    if backend == "onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        return {"session_options": options}
    if backend == "openvino":
        hint = {} if precision is None else {"INFERENCE_PRECISION_HINT": precision}
        return {"config": {"INFERENCE_NUM_THREADS": threads, **hint}}
    return {}


def compare_exported(model: Any, exported: Any, place: Path, example: Mapping[str, Any] | None = None) -> str:
    """Refuse a program whose outputs are not the model's, on a batch of the traced shape and on another.

    Args:
        model: what was exported.
        exported: from `load_exported`.
        place: how refusals call the folder.
        example: what it was exported with.

    Returns:
        A sentence for the log.

    Raises:
        CompressionError: it does not run in another shape, or an output differs by more than `TOLERANCE` of the largest.
    """
    worst = 0.0
    for batch in batches_to_trace(model, example):
        shape = ", ".join(f"{name} {list(value.shape)}" for name, value in batch.items())
        with torch.no_grad(), evaluating_without_gradients(model), _without_cache(model.config):
            wanted = model(**batch)
        try:
            with silent():
                found = exported(**batch)
        except Exception as error:  # each runtime refuses in its own way
            raise CompressionError(f"{place}: the exported program does not run on {shape} ({reason_of(error)})") from error
        for name, value in wanted.items():
            if isinstance(value, Tensor) and value.is_floating_point():
                distance = float((found[name] - value).abs().max() / value.abs().max().clamp(min=1e-30))
                if not distance <= TOLERANCE:
                    raise CompressionError(
                        f"{place}: {name} of the exported program differ from the model's by {distance:.3g} of the largest"
                        f" on {shape}; the exporter does not follow this architecture, write another format"
                    )
                worst = max(worst, distance)
    return f"{place} answers as {type(model).__name__} does: within {worst:.2g} of the largest output on two shapes"


@contextlib.contextmanager
def _without_cache(config: Any) -> Iterator[None]:
    """Forward passes return no cache inside the block."""
    before = getattr(config, "use_cache", None)
    if before is not None:
        config.use_cache = False
    try:
        yield
    finally:
        if before is not None:
            config.use_cache = before


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Exporters print and log every step."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with quiet(), contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)
