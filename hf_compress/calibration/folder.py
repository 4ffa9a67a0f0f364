"""Statistics on disk, under the names that the model's checkpoint gives its tensors."""

import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from hf_compress._errors import CompressionError
from hf_compress._folders import make_folder, refuse_link, replace
from hf_compress._modules.module_kind import is_transposed, kind_of
from hf_compress._quiet import quiet
from hf_compress._registry import unknown
from hf_compress.calibration.statistic import Statistic
from hf_compress.checkpoints.source import open_source

logger = logging.getLogger(__name__)

_STEP = 0.5
"""What the first input's column differs by in a marker tensor."""
_MOST_MARKERS = 2**22
"""fp32 holds this many marks with halves exactly."""


def save_statistics(model: nn.Module, folder: str | Path, **statistics: Mapping[str, Tensor] | None) -> dict[str, str]:
    """Write statistics so that the merge engine reads them like checkpoints of the model.

    Architectures rename, split and join tensors when they are saved (ViT, packed experts). Statistics with one number per
    weight go through the model's own `save_pretrained` in place of its weights. Those of inputs are placed by saving marked
    weights: the mark on disk tells whose inputs a tensor has and along which dimension. Where they lie along the first one,
    a dimension of 1 follows, as in (I, I, 1). A tensor on disk that joins layers with different inputs gets none, with a
    warning.

    Args:
        model: the one they were collected on; not changed.
        folder: gets a sub-folder for each statistic, by its name; those that exist are replaced.
        **statistics: by name, as `collect` returns them; None is left out.

    Returns:
        Statistic name -> sub-folder: the `statistics` of a merge's member.

    Raises:
        CompressionError: nothing is given, a statistic is unknown, a name is not one of the model's parameters, or a
            sub-folder is a symbolic link.
    """
    known = Statistic.available()
    given = {name: dict(values) for name, values in statistics.items() if values}
    for name in given:
        if name not in known:
            raise CompressionError(unknown("statistic", name, known))
    if not given:
        raise CompressionError(f"no statistic is given (known: {', '.join(known)}); there is nothing to save")
    parameters = dict(model.named_parameters())
    for name, values in given.items():
        for key in values:
            if key not in parameters:
                raise CompressionError(f"{name}: {type(model).__name__} has no parameter {key}; save them with their model")
    folder = Path(folder)
    for name in given:
        refuse_link(folder / name)
    make_folder(folder)
    written = {}
    for name, values in given.items():
        per_weight = known[name].shape == "(O, I)"
        stored = _saved_as(model, values) if per_weight else _placed(model, name, values)
        beside = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=folder))
        save_file(stored, beside / "model.safetensors", metadata={"format": "pt", "hf_compress": name})
        target = folder / name
        replace(beside, target)
        written[name] = str(target)
    return written


def _saved_as(model: Any, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors in the place of the parameters they are named after, under the names and in the shapes on disk."""
    config = model.config
    before = (getattr(config, "dtype", None), getattr(config, "architectures", None))
    with tempfile.TemporaryDirectory() as folder:
        try:
            with quiet():
                model.save_pretrained(folder, state_dict=dict(tensors))
        finally:
            config.dtype, config.architectures = before
        source = open_source(Path(folder), "statistics")
        return {name: source.read(name).clone() for name in source.infos}


def _placed(model: nn.Module, statistic: str, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Statistics of inputs by the names of the tensors on disk that hold their layers' weights."""
    parameters = dict(model.named_parameters())
    if len(parameters) > _MOST_MARKERS:
        raise CompressionError(f"{type(model).__name__} has {len(parameters)} parameters, too many to be told apart")
    marked = {}
    # Every parameter is marked, because some are joined with others on disk.
    for number, (name, parameter) in enumerate(parameters.items(), start=1):
        mark = torch.full(parameter.shape, float(number))
        if name in values:
            _inputs_last(model, name, mark)[..., 0] += _STEP
        marked[name] = mark
    names = list(parameters)
    placed = {}
    for name, mark in _saved_as(model, marked).items():
        owners = [names[int(number) - 1] for number in mark.floor().unique().tolist()]
        known = [owner for owner in owners if owner in values]
        if not known:
            continue
        first = values[known[0]]
        apart = len(known) < len(owners) or any(not torch.equal(values[owner], first) for owner in known[1:])
        if apart or (mark.dim() != 2 and not _has_kernel(_module_of(model, known[0]))):
            logger.warning("%s holds layers with different inputs, %s; it gets no %s", name, ", ".join(owners), statistic)
            continue
        steps = mark - mark.floor() > 0
        along_first = mark.dim() == 2 and bool(steps[0].all()) and not bool(steps[:, 0].all())
        placed[name] = (first[..., None] if along_first else first).contiguous().clone()
    return placed


def _inputs_last(model: nn.Module, name: str, weight: Tensor) -> Tensor:
    """A view of a layer's weight whose last dimension is the inputs."""
    return weight.T if is_transposed(_module_of(model, name)) else weight


def _module_of(model: nn.Module, parameter: str) -> nn.Module:
    return model.get_submodule(parameter.rpartition(".")[0])


def _has_kernel(module: nn.Module) -> bool:
    kind = kind_of(module)
    return kind is not None and kind.has_kernel
