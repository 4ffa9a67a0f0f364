"""Members under one set of names: tensors that loading takes for the same weight are one tensor of the merge."""

import copy
import functools
import inspect
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from hf_compress._errors import CompressionError
from hf_compress.checkpoints.architecture import model_class
from hf_compress.checkpoints.names import ModelNames, build_empty
from hf_compress.checkpoints.renamed import RenamedSource
from hf_compress.checkpoints.source import Source
from hf_compress.checkpoints.untying import TIED, Pair, remaining_ties, tie_flags, without_ties
from hf_compress.merging.members.text_part import TextPart

logger = logging.getLogger(__name__)

_OF_THE_HEAD = ("architectures", "id2label", "label2id", "num_labels", "problem_type", TIED)
"""Fields of config.json that belong to the class with the head, and not to the encoder below it."""
_OF_THE_FILE = ("_name_or_path", "transformers_version", "dtype", "torch_dtype", "quantization_config", "auto_map")


@dataclass(frozen=True, kw_only=True)
class Unified:
    """Inputs whose tensors can be compared by name.

    Attributes:
        sources: in the order given, wrapped where their names, their class or their ties are not the result's.
        lent: tensor -> labels of the inputs whose class has none, so that it is the others' business.
        ignored: tensor -> why it is left out where not all inputs have it.
        report: for the manifest.
        names: label -> (name shown -> name in the source), for those that are wrapped.
    """

    sources: tuple[Source, ...]
    lent: Mapping[str, frozenset[str]] = field(default_factory=dict)
    ignored: Mapping[str, str] = field(default_factory=dict)
    report: Mapping[str, Any] = field(default_factory=dict)
    names: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def like(self, label: str, beside: Source) -> Source:
        """Another checkpoint with the names of the input `label` (its statistics), under the common names."""
        if label not in self.names:
            return beside
        names = {shown: own for shown, own in self.names[label].items() if own in beside.infos}
        return RenamedSource(beside, names, beside.config)


def unify(sources: Sequence[Source], has_base: bool = False) -> Unified:
    """Bring every input to the names, the class and the ties of the result.

    - Names: those of the first input of the result's class; each tensor of another input goes under the name of the tensor
      that `from_pretrained` loads as the same parameter.
    - Class: the members', where they are of one class and the base is of another (the encoder alone, another head);
      between an encoder alone and a model with a head the one with the head. Else the first input's.
    - Ties: where an input has a head of its own beside its embedding, the result has; the head of an input that shares them
      is its embedding.

    Nothing is read but stored copies of shared weights. Inputs that are alike are returned as they are.

    Args:
        sources: the base first where there is one.
        has_base: the first one is the base.

    Raises:
        CompressionError: a class refuses its config, one input joins weights on disk that another has apart, or an input
            has a weight twice.
    """
    owner = None if _alike(sources) else _owner(sources, has_base)
    return Unified(sources=tuple(sources)) if owner is None else _Unifier(sources, owner, has_base).result()


def _alike(sources: Sequence[Source]) -> bool:
    """Whether names and configs already say the same of all, as they do for most merges; no model class is built."""
    first = sources[0]
    return all(
        source.infos.keys() == first.infos.keys() and tie_flags(source.config) == tie_flags(first.config)
        for source in sources
    )


def _owner(sources: Sequence[Source], has_base: bool) -> Source | None:
    """Whose class, names and labels the result has; None where transformers has no class of any."""
    known = [source for source in sources if model_class(source.config) is not None]
    if not known:
        return None
    headed = [source for source in known if not _is_bare(source)]
    members = [source for source in headed if not (has_base and source is sources[0])] or headed
    kinds = [model_class(source.config) for source in members]
    if not kinds or model_class(known[0].config) in kinds:
        return known[0]
    return next(source for source in known if model_class(source.config) is kinds[0])


def _is_bare(source: Source) -> bool:
    return model_class(source.config) in _bare_classes(source)


def _bare_classes(source: Source) -> tuple[Any, ...]:
    """What AutoModel loads for the source: its class without a head."""
    from transformers import CONFIG_MAPPING, MODEL_MAPPING

    kind = str(source.config.get("model_type"))
    found = MODEL_MAPPING.get(CONFIG_MAPPING[kind], ()) if kind in CONFIG_MAPPING else ()
    return found if isinstance(found, tuple) else (found,)


class _Input:
    """One source as the result's class reads it."""

    def __init__(self, source: Source, owner: Source) -> None:
        self.source, self.label = source, source.label
        self.result_class = model_class(owner.config)
        self.cls = model_class(source.config) or self.result_class  # a config that names none is taken at its names
        self.config = {**copy.deepcopy(source.config), "architectures": owner.config["architectures"]}
        if self.cls is not self.result_class:
            extra = {key: value for key, value in owner.config.items() if key not in (*source.config, *_OF_THE_FILE)}
            kept = {key: value for key, value in self.config.items() if key not in _OF_THE_HEAD}
            head = {key: owner.config[key] for key in _OF_THE_HEAD if key in owner.config}
            self.config = copy.deepcopy({**extra, **kept, **head})
        self.names = ModelNames(self.config, source.infos, source.place)
        self.tensors: dict[str, str] = {}  # identity -> tensor
        self.parameters: dict[str, str] = {}  # identity -> the parameter that it is, or is a part of
        self.aliases: dict[str, str] = {}  # identity -> the tensor that stands for it, where the weight is shared
        self.strangers: list[str] = []  # tensors that the result's class does not have
        for name in source.infos:
            identity = self.names.identity(name)
            if identity is None:
                self.strangers.append(name)
                continue
            self.parameters[identity] = self.names.parameter(name) or identity
            if self.tensors.setdefault(identity, name) != name:
                raise CompressionError(
                    f"{source.place} holds {identity} twice, as {self.tensors[identity]} and as {name}; remove one of them"
                )

    @functools.cached_property
    def own(self) -> ModelNames:
        """The source as its own class reads it."""
        alike = self.cls is self.result_class
        return self.names if alike else ModelNames(self.source.config, self.source.infos, self.source.place)

    @functools.cached_property
    def expected(self) -> set[str]:
        """The parameters of the result's class that the source's own class has, and without which it would be damaged."""
        if isinstance(self.source, TextPart):
            return set(self.source.parameters)
        has = set(self.own.parameters())
        if self.cls in _bare_classes(self.source) and "add_pooling_layer" in inspect.signature(self.cls).parameters:
            without = build_empty(self.source.config, self.source.place, add_pooling_layer=False)
            has &= set(without.state_dict()) if without is not None else has
        return {parameter for parameter in map(self.names.parameter, has) if parameter is not None}

    def shares(self, one: str, other: str) -> bool | None:
        """Whether two parameters are one weight in this source; None where its class does not have both."""
        if one not in self.expected or other not in self.expected:
            return None
        if self.names.tied.get(one) != other:
            return False
        a, b = self.tensors.get(one), self.tensors.get(other)
        return a is None or b is None or torch.equal(self.source.read(a), self.source.read(b))

    def stored_for(self, parameter: str) -> str | None:
        """The tensor that holds a shared weight."""
        return next((self.tensors[name] for name in self.names.tied_group(parameter) if name in self.tensors), None)


class _Unifier:
    def __init__(self, sources: Sequence[Source], owner: Source, has_base: bool) -> None:
        self.owner, self.has_base = owner, has_base
        self.inputs = [_Input(source, owner) for source in sources]
        self.first = next(each for each in self.inputs if each.source is owner)
        self.report: dict[str, Any] = {}

    def result(self) -> Unified:
        self._check_joined()
        self._untie()
        shown = self._shown()
        wrapped: list[Source] = []
        names: dict[str, dict[str, str]] = {}
        for each in self.inputs:
            own = {shown[key]: tensor for key, tensor in each.tensors.items()}
            own |= {shown[key]: tensor for key, tensor in each.aliases.items()}
            own |= {name: name for name in each.strangers if name not in own}
            same = all(name == tensor for name, tensor in own.items()) and each.config == each.source.config
            wrapped.append(each.source if same else RenamedSource(each.source, own, each.config))
            if not same:
                names[each.label] = own
        moved = [label for label, own in names.items() if any(a != b for a, b in own.items() if b not in own)]
        if moved:
            self.report["renamed"] = f"{', '.join(moved)} as {self.owner.label} names its tensors"
        if len({each.cls for each in self.inputs}) > 1:
            self.report["class"] = self.first.result_class.__name__
        return Unified(
            sources=tuple(wrapped),
            lent=self._lent(shown),
            ignored=self._ignored(),
            report=self.report,
            names=names,
        )

    def _check_joined(self) -> None:
        """Refuse weights that some inputs store joined and others apart: neither can be read as the other."""
        for each in self.inputs:
            for parameter, tensors in each.names.rearranged.items():
                other = next((one for one in self.inputs if parameter in one.tensors), None)
                if other is not None and other is not each and parameter not in each.tensors:
                    raise CompressionError(
                        f"{each.label} ({each.source.place}) stores {tensors[0]} and {other.label} ({other.source.place})"
                        f" {other.tensors[parameter]}, joined and apart; load each with from_pretrained and write it with"
                        " save_pretrained(folder, save_original_format=False)"
                    )

    def _untie(self) -> None:
        """Weights that are shared in some inputs and not in all: what is shared stands for both."""
        ties = {pair for each in self.inputs for pair in each.names.tied.items()}
        parted = {pair for pair in ties if any(each.shares(*pair) is False for each in self.inputs)}
        if not parted:
            return
        left = self._remove_ties(parted)
        shared = []
        for each in self.inputs:
            for pair in each.names.tied.items():
                if pair in left or each.shares(*pair) is None:
                    continue
                for name in pair:
                    stored = each.stored_for(name)
                    if name not in each.tensors and stored is not None:
                        each.aliases[name] = stored
                        shared.append(each.label)
        apart = [each.label for each in self.inputs if any(each.shares(*pair) is False for pair in parted)]
        named = ", ".join(sorted(one for one, _ in parted))
        self.report["untied"] = f"{named}, as in {', '.join(apart)}"
        if shared:
            self.report["untied"] += f"; in {', '.join(dict.fromkeys(shared))} the weight it shares stands for it"

    def _remove_ties(self, parted: set[Pair]) -> set[Pair]:
        """Make the configs say that the weights are apart, where the config decides it; the ties that stay."""
        ties = {one: other for each in self.inputs for one, other in each.names.tied.items()}
        left = remaining_ties(self.first.config, ties, parted, self.owner.place)
        if left is None:
            return set(ties.items()) - parted
        for each in self.inputs:
            each.config = without_ties(each.config)
        return left

    def _shown(self) -> dict[str, str]:
        """Identity -> the name it has in the merge."""
        shown = dict(self.first.tensors)
        taken = set(shown.values())
        for each in self.inputs:
            for key, tensor in {**each.tensors, **each.aliases}.items():
                if key not in shown:
                    plain = self.first.names.identity(key) == key and key not in taken
                    shown[key] = key if plain else tensor
                    taken.add(shown[key])
        return shown

    def _lent(self, shown: Mapping[str, str]) -> dict[str, frozenset[str]]:
        parameters = {key: parameter for each in self.inputs for key, parameter in each.parameters.items()}
        lent: dict[str, frozenset[str]] = {}
        for key, name in shown.items():
            lacking = [each for each in self.inputs if key not in each.tensors and key not in each.aliases]
            right = frozenset(each.label for each in lacking if parameters.get(key, key) not in each.expected)
            if right:
                lent[name] = right
        return lent

    def _ignored(self) -> dict[str, str]:
        cls = self.first.result_class.__name__
        reasons: dict[str, str] = {}
        needed: set[str] = set()
        for each in self.inputs:
            for name in each.strangers:
                if each.own.identity(name) is None:
                    reasons[name] = f"{each.cls.__name__ if each.cls else cls} ignores it on loading"
                elif (self.has_base and each is self.inputs[0]) or each.cls in _bare_classes(each.source):
                    reasons[name] = f"{cls} has no such weight"
                else:
                    needed.add(name)
        return {name: reason for name, reason in reasons.items() if name not in needed}
