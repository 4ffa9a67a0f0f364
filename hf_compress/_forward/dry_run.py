"""What a model does with a module's weight, seen in one small forward pass before training.

Whoever changes what a module's `forward` computes relies on the architecture calling it. Some architectures take the
weight and compute with it themselves (`multi_head_attention_forward(..., self.q_proj.weight)`,
`self.dt_proj.weight @ x`), and then the change is passed by in silence.
"""

import contextlib
import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from hf_compress._errors import reason_of
from hf_compress._forward.probe import probe_inputs
from hf_compress._modules.modes import evaluation_mode
from hf_compress._random import random_states_kept
from hf_compress._sharding.contract import original_class

_SHAPE_ONLY = {"new_zeros", "new_ones", "new_empty", "new_full", "new_tensor", "zeros_like", "ones_like", "empty_like"}
"""Functions that make a tensor of a weight's kind and do not look at its values."""


@dataclass(frozen=True, kw_only=True)
class DryRun:
    """What one forward pass showed.

    Attributes:
        called: modules whose forward ran.
        bypassed: modules whose weight was computed with while their forward did not run.
    """

    called: frozenset[str]
    bypassed: frozenset[str]


def dry_run(model: nn.Module, modules: Mapping[str, nn.Module]) -> DryRun | None:
    """Watch `modules` in a forward pass of a probe batch: without gradients, in evaluation mode, and leaving no trace.

    A model without memory of the same class and config is tried first (on the meta device the pass costs milliseconds);
    where the architecture's control flow needs values, the model itself runs, its buffers and the random state put back
    after.

    Args:
        model: any model; only those with a config can be probed.
        modules: modules of it by canonical name, not yet changed.

    Returns:
        None where no probe can be built or no pass ends.
    """
    if getattr(model, "config", None) is None:
        return None
    with random_states_kept():
        return _dry_run(model, modules)


def _dry_run(model: nn.Module, modules: Mapping[str, nn.Module]) -> DryRun | None:
    twin = skeleton(model)
    if twin is not None:
        watched = {}
        for name in modules:
            with contextlib.suppress(AttributeError):
                watched[name] = twin.get_submodule(name)
        if all(type(watched.get(name)) is type(module) for name, module in modules.items()):
            found = _observe(twin, watched)
            if found is not None:
                return found
    if any(parameter.is_meta for parameter in model.parameters()):
        return None
    with _untouched(model):
        return _observe(model, modules)


def runs_without_memory(model: nn.Module) -> bool:
    """Whether a probe of the model runs in fp32 on the meta device, where a failure in another type says something."""
    twin = skeleton(model, torch.float32) if getattr(model, "config", None) is not None else None
    return twin is not None and failure(twin) == ""


def skeleton(model: nn.Module, dtype: torch.dtype | None = None) -> Any:
    """A model of the same class and config without memory, in evaluation mode.

    Args:
        model: with a config.
        dtype: see `build`.

    Returns:
        None where the class needs more than a config.
    """
    return build(original_class(model), getattr(model, "config", None), dtype, "meta")


def build(cls: Any, config: Any, dtype: torch.dtype | None, device: str) -> Any:
    """A model of a class, in evaluation mode.

    Args:
        cls: made from a config.
        config: only read.
        dtype: the type in which the class is asked to build it; None leaves torch's.
        device: "meta" costs no memory.

    Returns:
        None where the class needs more than a config, or refuses this one.
    """
    if config is None:
        return None
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype or before)
    try:
        config = copy.deepcopy(config)
        if dtype is not None:  # as the loader does, for classes that ask the config
            parts = [getattr(config, key, None) for key in getattr(config, "sub_configs", ())]
            for part in (config, *parts):
                if part is not None:
                    part.dtype = dtype
        with torch.device(device):
            return cls(config).to(device).eval()  # some classes make parameters that know no device (Wav2Vec2)
    except Exception:  # classes of users take what they like
        return None
    finally:
        torch.set_default_dtype(before)


@contextlib.contextmanager
def _untouched(model: nn.Module) -> Iterator[None]:
    """Evaluation mode; afterwards the modes and buffers are what they were."""
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    try:
        with evaluation_mode(model):
            yield
    finally:
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                if name in buffers and buffer.shape == buffers[name].shape:
                    buffer.copy_(buffers[name])


def _observe(model: nn.Module, modules: Mapping[str, nn.Module]) -> DryRun | None:
    """One pass with the modules watched; None where it does not end."""
    watcher = _Watcher(modules)
    with watcher.watching():
        ended = failure(model) == ""
    return watcher.seen() if ended else None


def failure(model: nn.Module) -> str | None:
    """Why no probe of the model runs; empty where one does, None where there is none."""
    reasons = []
    for batch in _probes(model):
        try:
            with torch.no_grad(), _OneType():
                model(**batch)
        except Exception as error:  # what a forward refuses it refuses in its own way
            reasons.append(reason_of(error, 200))
        else:
            return ""
    # That it has no memory says nothing about the model.
    return next((reason for reason in reasons if "meta tensor" not in reason), reasons[0]) if reasons else None


def _probes(model: Any) -> Iterator[dict[str, Any]]:
    """Two rows; with a mask, without which some look for padding; one row, where a classifier knows no padding."""
    for rows, masked in ((2, False), (2, True), (1, False)):
        batch: dict[str, Any] | None = probe_inputs(model, rows)
        if batch is None:
            return
        if hasattr(model.config, "use_cache"):
            batch["use_cache"] = False  # as in training
        if masked and "input_ids" in batch:
            batch["attention_mask"] = torch.ones_like(batch["input_ids"])
        yield batch


class _OneType(TorchFunctionMode):
    """Refuses products of two types as the CPU does; the meta device lets some pass."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in ("linear", "addmm", "mm", "layer_norm"):
            kinds = [tensor.dtype for tensor in _tensors((args, kwargs)) if tensor.is_floating_point()]
            widened = len(set(kinds)) > 1 and (name != "layer_norm" or kinds[0] == torch.float32)
            if widened and not torch.is_autocast_enabled("cpu"):
                raise TypeError(f"{name} of {kinds[0]} and {kinds[1]}".replace("torch.", ""))
        return func(*args, **(kwargs or {}))


class _Watcher(TorchFunctionMode):
    """Sees every torch function, so a weight among its arguments is a use of that weight."""

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self._modules = modules
        self._names = {id(module.weight): name for name, module in modules.items()}
        self._inside: dict[str, int] = {}
        self._called: set[str] = set()
        self._bypassed: set[str] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if getattr(func, "__name__", "") not in _SHAPE_ONLY and _holds_tensor(result):
            for tensor in _tensors((args, kwargs)):
                name = self._names.get(id(tensor))
                if name is not None and not self._inside.get(name):
                    self._bypassed.add(name)
        return result

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Hooks say when a module's own forward runs."""
        handles = []

        def enter(name: str) -> Any:
            def hook(*_: Any) -> None:
                self._called.add(name)
                self._inside[name] = self._inside.get(name, 0) + 1

            return hook

        def leave(name: str) -> Any:
            def hook(*_: Any) -> None:
                self._inside[name] -= 1

            return hook

        for name, module in self._modules.items():
            handles.append(module.register_forward_pre_hook(enter(name)))
            handles.append(module.register_forward_hook(leave(name), always_call=True))
        try:
            with self:
                yield
        finally:
            for handle in handles:
                handle.remove()

    def seen(self) -> DryRun:
        """What the pass showed."""
        return DryRun(called=frozenset(self._called), bypassed=frozenset(self._bypassed))


def _tensors(value: Any) -> Iterator[Tensor]:
    """The tensors inside nested arguments."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)


def _holds_tensor(value: Any) -> bool:
    return next(_tensors(value), None) is not None
