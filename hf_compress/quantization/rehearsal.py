"""Whether plain transformers will load what a quantized model is written as, known before it is trained.

The model is quantized, packed and loaded without memory, through transformers' own loader. That finds architectures
whose weight initialisation reads a `weight` that packed modules do not have, experts that the loader puts together
otherwise than they were stored, and tensors that would come back random.
"""

import contextlib
import copy
import functools
import io
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from torch import nn

from hf_compress._errors import CompressionError, reason_of
from hf_compress._forward.dry_run import skeleton
from hf_compress._forward.remembered import Question, question
from hf_compress._quiet import quiet
from hf_compress._random import random_states_kept
from hf_compress.quantization.configuration import Quantization
from hf_compress.quantization.scheme import Scheme

if TYPE_CHECKING:
    from compressed_tensors.quantization import QuantizationScheme


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How a quantized model is stored so that transformers loads it.

    Attributes:
        schemes: module -> its scheme as compressed-tensors takes it.
        dense_on_load: whether its config tells transformers to unpack the weights while loading, not in the first forward.
        packed: whether compressed-tensors packs it; another format has no loader to be tried before training.
    """

    schemes: Mapping[str, "QuantizationScheme"]
    dense_on_load: bool
    packed: bool = True

    def key(self) -> str:
        """All of it as text, equal for equal layouts."""
        distinct = {id(scheme): scheme.model_dump(mode="json") for scheme in self.schemes.values()}
        schemes = {name: distinct[id(scheme)] for name, scheme in self.schemes.items()}
        return json.dumps([schemes, self.dense_on_load, self.packed], sort_keys=True)


def loadable_layout(model: nn.Module, schemes: Mapping[str, "QuantizationScheme"], quantization: Quantization) -> Layout:
    """How to store the model in its schemes so that transformers loads it for this architecture.

    Where only weights are quantized, unpacking while loading computes the same numbers, and it loads architectures whose
    weight initialisation wants a `weight` in every module (T5, Wav2Vec2, ModernBERT, ...). It also lets encoder-decoders
    generate: `generate` calls the encoder before the forward that would unpack it. Transformers then unpacks every module
    by one and the same group, so several schemes in one model are unpacked in the first forward always.

    Args:
        model: dense or on the meta device; one that is no transformers model is not tried.
        schemes: the modules to quantize by name, each with its scheme.
        quantization: the job, for the refusal.

    Raises:
        CompressionError: no layout loads; the sentence names the schemes that do.
    """
    problem, layout = _first_that_loads(model, schemes)
    if layout is not None:
        return layout
    used = [scheme.name for scheme in quantization.schemes]
    others = [kind for kind in schemes_that(model, schemes) if [kind] != used]
    config: Any = model.config
    raise CompressionError(
        f"quantization: transformers would not load {config.model_type} with scheme {' and '.join(used)} ({problem});"
        + (f" take {' or '.join(others)}" if others else " prune or distil this model instead")
    )


def _first_that_loads(model: nn.Module, schemes: Mapping[str, "QuantizationScheme"]) -> tuple[str, Layout | None]:
    """The layout, or what goes wrong with the usual one."""
    plain = Layout(schemes=schemes, dense_on_load=False)
    layouts = [plain]
    if not _is_mixed(schemes) and all(scheme.input_activations is None for scheme in schemes.values()):
        dense = replace(plain, dense_on_load=True)
        couple = getattr(getattr(model, "config", None), "is_encoder_decoder", False)
        layouts = [dense, plain] if couple else [plain, dense]
    problem = ""
    for layout in layouts:
        found = problem_of(model, layout)
        if not found:
            return "", layout
        problem = problem or found
    return problem, None


def _is_mixed(schemes: Mapping[str, "QuantizationScheme"]) -> bool:
    """More than one way of storing numbers, whatever the groups target."""
    distinct = {id(scheme): scheme.model_dump(exclude={"targets", "format"}) for scheme in schemes.values()}
    return any(one != next(iter(distinct.values())) for one in distinct.values())


def schemes_that(
    model: nn.Module, names: Iterable[str], suits: Callable[[Layout], bool] = lambda layout: True
) -> list[str]:
    """The schemes that would load, with groups as small as needed.

    Args:
        model: as in `loadable_layout`.
        names: the modules to quantize.
        suits: what else is asked of them.
    """
    found = []
    for kind in Scheme.available():
        with contextlib.suppress(CompressionError):
            scheme = Scheme.create(kind).finest().to_compressed_tensors(["Linear"])
            layout = _first_that_loads(model, dict.fromkeys(names, scheme))[1]
            if layout is not None and suits(layout):
                found.append(kind)
    return found


def problem_of(model: nn.Module, layout: Layout) -> str:
    """What goes wrong when the quantized model is loaded; empty where nothing does or the model cannot be tried."""
    asked = question(model, layout.key(), layout)
    return "" if asked is None else _problem(asked)


@functools.lru_cache(maxsize=64)
def _problem(asked: Question) -> str:
    from compressed_tensors.offload import as_single_threaded
    from compressed_tensors.quantization import QuantizationStatus, initialize_module_for_quantization
    from transformers.core_model_loading import revert_weight_conversion

    from hf_compress.quantization.reach import DENSE_ON_LOAD
    from hf_compress.quantization.serializer import packed_state, quantization_settings

    model: Any = asked.model()
    layout: Layout = asked.given
    twin = skeleton(model)
    if twin is None:
        return ""
    # compressed-tensors draws bars, and would share the work among the processes of a training.
    with quiet(), contextlib.redirect_stderr(io.StringIO()), as_single_threaded(), random_states_kept():
        try:
            for name, scheme in layout.schemes.items():
                module = twin.get_submodule(name)
                initialize_module_for_quantization(module, copy.deepcopy(scheme), force_zero_point=False)
                module.quantization_status = QuantizationStatus.FROZEN  # type: ignore[assignment]
        except AttributeError:  # modules of the model that its config does not make
            return ""
        config: Any = copy.deepcopy(model.config)
        setattr(twin, DENSE_ON_LOAD, layout.dense_on_load)
        config.quantization_config = quantization_settings(twin)
        try:
            loaded_with_info: Any = type(model).from_pretrained(
                None,
                config=config,
                state_dict=dict(revert_weight_conversion(model, packed_state(twin))),
                device_map="meta",
                output_loading_info=True,
                trust_remote_code=False,
            )
            info: dict[str, Any] = loaded_with_info[1]
        except Exception as error:  # each architecture refuses in its own way
            return reason_of(error, 120)
    for key, words in (("missing_keys", "would be random"), ("unexpected_keys", "would be dropped")):
        if info[key]:
            return f"{min(info[key])} {words}"
    return f"{min(info['mismatched_keys'])[0]} has another shape" if info["mismatched_keys"] else ""
