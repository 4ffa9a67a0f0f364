"""Where a model's parameters lie in its checkpoint: architectures rename and rearrange tensors between memory and disk."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hf_compress._errors import CompressionError, reason_of
from hf_compress._model_size import bounded_modules
from hf_compress._quiet import quiet
from hf_compress.checkpoints.architecture import model_class
from hf_compress.checkpoints.source import TensorInfo


class ModelNames:
    """The parameters of the checkpoint's class, without memory for them, and the tensors that hold them.

    The direction is that of loading: each tensor on disk is renamed as `from_pretrained` would rename it, so old names and
    both spellings of a base model's prefix are found as well.

    Attributes:
        model: on the meta device; None where transformers does not have the class, and names then mean themselves.
        tensor_of: parameter or buffer -> tensor, for those that are stored as they are.
        rearranged: parameter -> tensors, for those that are split, joined or permuted on disk.
        tied: parameter -> the one whose weight it shares.
    """

    def __init__(self, config: dict[str, Any], infos: Mapping[str, TensorInfo], place: str) -> None:
        self.place, self.infos = place, infos
        self.model = build_empty(config, place)
        self.tensor_of: dict[str, str] = {}
        self.rearranged: dict[str, list[str]] = {}
        self.tied: dict[str, str] = {}
        if self.model is None:
            self.tensor_of = {name: name for name in infos}
            return
        self._state: dict[str, Tensor] = self.model.state_dict()
        self.tied = dict(getattr(self.model, "all_tied_weights_keys", None) or {})
        for name in infos:
            parameter, converted = self._loaded_as(name)
            if converted:
                self.rearranged.setdefault(parameter, []).append(name)
            elif parameter in self._state:
                self.tensor_of[parameter] = name

    def parameter(self, name: str) -> str | None:
        """The parameter that an adapter means by `name`, which may be a name of an older release; None without one."""
        if self.model is None:
            return name if name in self.tensor_of else None
        if name in self._state:
            return name
        renamed = self._loaded_as(name)[0]
        return renamed if renamed in self._state else None

    def identity(self, name: str) -> str | None:
        """What a tensor is, whatever its checkpoint calls it; None where the class has no such weight.

        That is the parameter it is loaded as, and for one that is split, joined or permuted on loading the name by which
        the conversion knows it.
        """
        if self.model is None:
            return name
        parameter, converted = self._loaded_as(name)
        if parameter not in self._state:
            return None
        if not converted:
            return parameter
        plain = self._rename(name, converters=True, prefix=None)[0]
        part = self._rename(name, converters=False, prefix=None)[0]
        base = self.model.base_model_prefix
        if parameter == f"{base}.{plain}":
            return f"{base}.{part}"
        return part.removeprefix(f"{base}.") if plain == f"{base}.{parameter}" else part

    def parameters(self) -> list[str]:
        """All parameters and stored buffers of the class; the tensors themselves where it is not known."""
        return list(self._state if self.model is not None else self.infos)

    def module(self, parameter: str) -> nn.Module | None:
        """The module that owns it; None where the class is not known, or does not have it."""
        known = self.model is not None and parameter in self._state
        return self.model.get_submodule(parameter.rpartition(".")[0]) if known and self.model is not None else None

    def tied_group(self, parameter: str) -> list[str]:
        """The parameters that share its weight, itself among them."""
        owner = self.tied.get(parameter, parameter)
        return [owner, *(name for name, source in self.tied.items() if source == owner)]

    def rearrange(self, parameter: str, value: Tensor) -> dict[str, Tensor]:
        """What a change of a parameter that is stored rearranged means on disk: tensor -> change.

        Splits, joins and permutations are linear, so what saving does to the weight is done to the change.

        Raises:
            CompressionError: it is joined with other parameters on disk, or the names do not come out as they are there.
        """
        from transformers.core_model_loading import revert_weight_conversion

        assert self.model is not None
        try:
            saved: dict[str, Tensor] = revert_weight_conversion(
                self.model,  # type: ignore[arg-type]
                {parameter: value},
            )
        except Exception as error:  # each conversion fails in its own way without the other parameters
            raise CompressionError(f"{self.place}: {parameter} is joined with other weights on disk: {error}") from error
        for name, tensor in saved.items():
            if name not in self.infos or self.infos[name].shape != tuple(tensor.shape):
                raise CompressionError(
                    f"{self.place}: {parameter} is stored together with others as {self.rearranged[parameter][0]}, so a"
                    " change of it alone cannot be placed; merge the adapter with PEFT"
                )
        return saved

    def _loaded_as(self, name: str) -> tuple[str, bool]:
        """The parameter as which a tensor is loaded, and whether it is rearranged for it."""
        return self._rename(name, converters=True, prefix=self.model.base_model_prefix or None)  # type: ignore

    def _rename(self, name: str, *, converters: bool, prefix: Any) -> tuple[str, bool]:
        from transformers.conversion_mapping import get_model_conversion_mapping
        from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key

        if not hasattr(self, "_conversions"):
            found = get_model_conversion_mapping(self.model)  # type: ignore[arg-type]
            self._conversions = (
                [item for item in found if isinstance(item, WeightRenaming)],
                [item for item in found if isinstance(item, WeightConverter)],
            )
        renamings, rearranging = self._conversions
        renamed, pattern = rename_source_key(name, renamings, rearranging if converters else [], prefix, self._state)  # type: ignore
        return renamed, pattern is not None


def build_empty(config: dict[str, Any], place: str, **settings: Any) -> nn.Module | None:
    """The checkpoint's model without weights, or None where its config names no class that transformers has.

    Args:
        config: its config.json.
        place: the checkpoint, for errors.
        settings: of the class beside its config.

    Raises:
        CompressionError: the class refuses the config.
    """
    cls = model_class(config)
    if cls is None:
        return None
    with quiet():
        try:
            loaded = cls.config_class.from_dict(
                {key: value for key, value in config.items() if key != "quantization_config"}
            )
            with torch.device("meta"), bounded_modules():
                model: nn.Module = cls(loaded, **settings)
        except Exception as error:  # each architecture refuses in its own way
            reason = reason_of(error, 200)
            raise CompressionError(f"{place}: {cls.__name__} cannot be built from config.json: {reason}") from error
    return model
