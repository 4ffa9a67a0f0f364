"""A checkpoint with a LoRA adapter merged into it, as a source."""

import threading
from pathlib import Path

import torch
from torch import Tensor, nn

from hf_compress._errors import CompressionError
from hf_compress._modules.module_kind import in_groups, is_transposed
from hf_compress.checkpoints.names import ModelNames
from hf_compress.checkpoints.renamed import RenamedSource
from hf_compress.checkpoints.source import Source
from hf_compress.checkpoints.untying import untied
from hf_compress.merging.lora.adapter import Adapter, LoraLayer
from hf_compress.merging.lora.changes import Change, ZeroCount
from hf_compress.merging.lora.parameters import ParameterLayer, parameter_layers
from hf_compress.merging.lora.ties import parted_by
from hf_compress.merging.lora.tokens import token_rows


class AdaptedSource(Source):
    """base + scale * B @ A, with everything else an adapter carries.

    - Linear: W (O, I) + scale B A; the `Conv1D` of GPT-2 and embeddings store the transpose.
    - Convolutions: W (O, I, kernel) + scale B A, the kernel folded into I.
    - lora_bias: bias + scale * bias of B.
    - Parameters of experts (E, O, I) + scale B_e A_e, split as they are on disk.
    - Single tokens: their rows replace the base's.
    - DoRA: m * V / ||V||, V = W + scale B A, one norm and one m per output (per column of an embedding).
    - modules_to_save, trained biases and saved embeddings replace the base's tensor first.
    - Of an embedding and a head that share their weight each is adapted alone: the result stores both, and its config ties
      them no more.

    Products and sums are in fp32 (fp64 for an fp64 base), rounded once to the stored type.

    Attributes:
        untied: parameters that shared their weight in the base, and that the adapter gives another than its partner.
        keep_zeros: weights that are exactly 0 in the base stay 0 where the factors would change them; without it a pruned
            layer is dense afterwards. Whole tensors and biases are not masked.

    Source: Hu et al. 2021, equation 3; Liu et al. 2024 (DoRA), equation 5; Kalajdzievski 2023 (the scale of rslora).
    """

    def __init__(self, source: Source, adapter: Adapter, *, keep_zeros: bool = False) -> None:
        names = ModelNames(source.config, source.infos, source.place)
        parted = parted_by(adapter, source, names)
        if parted:
            source = untied(source, names, parted)
            names = ModelNames(source.config, source.infos, source.place)
        self.label, self.place, self.config, self.infos = source.label, source.place, source.config, source.infos
        self.source, self.adapter, self.keep_zeros, self.names = source, adapter, keep_zeros, names
        self.untied = tuple(sorted(one for one, _ in parted))
        self._changes: dict[str, Change] = {}
        for name, key in adapter.whole.items():
            self._replace(name, key)
        for name, key in adapter.base_copies.items():
            if not self._is_copied(name, key):
                self._replace(name, key)
        for layer in adapter.layers.values():
            self._place_layer(layer)
        for packed in parameter_layers(adapter, names.model):
            self._place_parameter(packed)
        for tensor, tokens in token_rows(adapter, names).items():
            self._changes.setdefault(tensor, Change()).tokens = tokens
        self._zeros: dict[str, ZeroCount] = {}
        self._lock = threading.Lock()
        self._last: tuple[str, Tensor] | None = None

    def read(self, name: str) -> Tensor:
        """The adapted tensor, in the type the base stores it in.

        Raises:
            CompressionError: it is not finite.
        """
        base = self.source.read(name)
        change = self._changes.get(name)
        if change is None:
            return base
        value = base if change.whole is None else self.adapter.read(change.whole)
        if change.layer is not None or change.packed is not None:
            precise = torch.promote_types(value.dtype, torch.float32)
            value = self._adapted(value.to(precise), change, name)
        value = value.to(base.dtype)
        if change.tokens is not None:
            value = value.index_copy(
                0, torch.tensor(change.tokens.rows), self.adapter.read(change.tokens.key).to(value.dtype)
            )
        if not bool(torch.isfinite(value).all()):
            raise CompressionError(
                f"{name} of {self.label} with {self.adapter.label} holds NaN or infinity in {str(base.dtype)[6:]}; look for"
                " it in the base, or store the base in a wider type"
            )
        if change.packed is not None or (change.layer is not None and change.role == "weight"):
            value = self._zeros_of(name, base, value)
        return value

    def files(self) -> list[Path]:
        """The base's and the adapter's."""
        return [*self.source.files(), *self.adapter.files()]

    def changed(self) -> list[str]:
        """The tensors that differ from the base's, sorted."""
        return sorted(self._changes)

    def zeros(self) -> ZeroCount:
        """Zeros of all tensors read so far."""
        with self._lock:
            return sum(self._zeros.values(), ZeroCount())

    def _zeros_of(self, name: str, base: Tensor, value: Tensor) -> Tensor:
        """Counts the base's zeros, and puts them back where they are to stay."""
        zero = base == 0
        lost = zero & (value != 0)
        count = ZeroCount(elements=base.numel(), zeros=int(zero.sum()), lost=int(lost.sum()))
        with self._lock:
            self._zeros[name] = count
        return value.masked_fill(zero, 0) if self.keep_zeros and count.lost else value

    def _adapted(self, value: Tensor, change: Change, name: str) -> Tensor:
        """One weight or bias with the factors in it."""
        if change.packed is not None:
            delta = self._delta_of(change.packed)
            rearranged = change.rearranged is not None
            return value + (self.names.rearrange(change.packed.parameter, delta)[name] if rearranged else delta)
        layer = change.layer
        assert layer is not None
        if change.role == "bias":
            bias = self.adapter.read_role(layer, "bias")
            assert bias is not None
            return value + bias.mul_(layer.scale)
        b, a = self.adapter.factors(layer)
        delta = (b @ a).mul_(layer.scale)
        if change.rearranged is not None:
            return value + self.names.rearrange(change.rearranged, delta)[name]
        weight = value.T if change.transposed else value
        weight = weight + delta.reshape(weight.shape)
        magnitude = self.adapter.read_role(layer, "magnitude")
        if magnitude is not None:
            norm = torch.linalg.vector_norm(weight.flatten(1), dim=1)
            weight = weight * (magnitude / norm).reshape(-1, *[1] * (weight.dim() - 1))
        return weight.T.contiguous() if change.transposed else weight

    def _delta_of(self, packed: ParameterLayer) -> Tensor:
        """The change of a packed parameter; the last one is kept, as its parts are read one after the other."""
        with self._lock:
            if self._last is None or self._last[0] != packed.parameter:
                self._last = (packed.parameter, packed.delta(self.adapter))
            return self._last[1]

    def _place_parameter(self, packed: ParameterLayer) -> None:
        """A parameter of experts, whole on disk or in parts."""
        tensor, parameter = self._find(packed.parameter)
        names = [tensor] if tensor else list(self.names.rearrange(parameter, torch.empty(packed.shape, device="meta")))
        for name in names:
            change = self._changes.setdefault(name, Change())
            change.packed, change.rearranged = packed, None if tensor else parameter
        if tensor:
            self._require(tensor, packed.shape, f"scale * B @ A of {packed.parameter}")

    def _find(self, name: str) -> tuple[str, str]:
        """(tensor, parameter) for what the adapter calls `name`; the tensor is empty where it is rearranged on disk."""
        parameter = self.names.parameter(name)
        if parameter in self.names.rearranged and name != parameter and name in self.infos:
            return name, name  # one part, e.g. one expert, of what this release of transformers joins
        if parameter is not None:
            if parameter in self.names.tensor_of:
                return self.names.tensor_of[parameter], parameter
            if parameter in self.names.rearranged:
                return "", parameter
        if name in self.infos:
            return name, name
        raise CompressionError(
            f"{self.adapter.place}: {name} has no tensor in {self.label} ({self.place}); the adapter belongs to another"
            " base or to another head: save the base with the class the adapter was trained on first"
        )

    def _require(self, tensor: str, shape: tuple[int, ...], what: str) -> None:
        if self.infos[tensor].shape != shape:
            raise CompressionError(
                f"{self.adapter.place}: {what} is {list(shape)}, and {tensor} in {self.label} is"
                f" {list(self.infos[tensor].shape)}; the adapter belongs to another base, or to this one with another"
                " head or vocabulary: save it as the adapter was trained on it first"
            )
        if not self.infos[tensor].dtype.is_floating_point:
            raise CompressionError(
                f"{tensor} in {self.label} is stored as {self.infos[tensor].dtype}; dequantize the base before adapting it"
            )

    def _is_copied(self, name: str, key: str) -> bool:
        """Whether a copy of the base's weight is of the weight that the adapters below this one have changed.

        Raises:
            CompressionError: they have changed it, and the copy is of another weight.
        """
        tensor, below = self.names.tensor_of.get(self.names.parameter(name) or "", ""), self.source
        changed_by = None
        while isinstance(below, AdaptedSource | RenamedSource):
            if isinstance(below, RenamedSource):
                tensor = below.names.get(tensor, "")
            elif tensor in below.changed():
                changed_by = below.adapter
            below = below.source
        if changed_by is None:
            return False
        copy = self.adapter.read(key)
        if not torch.equal(below.read(tensor).to(copy.dtype), copy):
            raise CompressionError(
                f"{self.adapter.place} carries another {name} than {self.label}, which {changed_by.place} has changed; put"
                " the adapter with its own embedding first, or alone"
            )
        return True

    def _replace(self, name: str, key: str) -> None:
        """A parameter saved as a whole."""
        parameter = self.names.parameter(name)
        group = [] if parameter is None else self.names.tied_group(parameter)
        if len(group) > 1:
            saved, stored = (
                self.adapter.read(key),
                next(iter(self.names.tensor_of[item] for item in group if item in self.names.tensor_of)),
            )
            others = [self.adapter.whole.get(item) for item in group]
            if all(other is not None and torch.equal(self.adapter.read(other), saved) for other in others):
                self._require(stored, self.adapter.shape(key), name)
                self._changes[stored] = Change(whole=key)
                return
            if self.infos[stored].shape == tuple(saved.shape) and torch.equal(
                self.source.read(stored).to(saved.dtype), saved
            ):
                return  # PEFT saves a copy of the base's embedding beside factors that adapt it
        tensor, _ = self._find(name)
        if not tensor:
            raise CompressionError(
                f"{self.adapter.place}: {name} is saved whole and stored rearranged in {self.label}; merge the adapter"
                " with PEFT"
            )
        saved_as = self.infos[tensor]
        if saved_as.dtype.is_floating_point or saved_as.shape != self.adapter.shape(key):
            self._require(tensor, self.adapter.shape(key), name)
        self._changes[tensor] = Change(whole=key)

    def _place_layer(self, layer: LoraLayer) -> None:
        """The weight, and the bias where the factors have one."""
        tensor, parameter = self._find(f"{layer.module}.weight")
        module = self.names.module(parameter)
        out, inner = self.adapter.shape(layer.keys["b"])[0], self.adapter.kernel(layer)
        if not tensor:
            if "magnitude" in layer.keys:
                raise CompressionError(
                    f"{self.adapter.place}: {layer.module} is stored rearranged in {self.label}, and DoRA needs it whole;"
                    " merge the adapter with PEFT"
                )
            parts = self.names.rearrange(parameter, torch.empty(out, *inner, device="meta"))
            for name in parts:
                change = self._changes.setdefault(name, Change())
                change.layer, change.rearranged = layer, parameter
        else:
            if module is not None and in_groups(module):
                raise CompressionError(
                    f"{self.adapter.place}: {layer.module} is a convolution in {module.groups} groups, which has no single"
                    " product B @ A; leave it out of target_modules"
                )
            change = self._changes.setdefault(tensor, Change())
            change.layer, change.transposed = layer, self._is_transposed(layer, module, tensor)
            shape = (*inner[::-1], out) if change.transposed else (out, *inner)
            self._require(tensor, shape, f"scale * B @ A of {layer.module}")
        if "bias" in layer.keys:
            bias, _ = self._find(f"{layer.module}.bias")
            self._require(bias, (out,), f"the LoRA bias of {layer.module}")
            change = self._changes.setdefault(bias, Change())
            change.layer, change.role = layer, "bias"

    def _is_transposed(self, layer: LoraLayer, module: nn.Module | None, tensor: str) -> bool:
        """Whether the tensor is (I, O): embeddings and Conv1D; without the class what the shape and the adapter say."""
        if layer.kind != "matrix":
            return layer.kind == "embedding"
        if module is not None:
            return is_transposed(module)
        fits = self.infos[tensor].shape == (self.adapter.shape(layer.keys["b"])[0], *self.adapter.kernel(layer))
        return bool(self.adapter.config.get("fan_in_fan_out")) or not fits
