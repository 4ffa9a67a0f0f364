"""The parameters of a mergekit configuration as fields of the method, values of the members, and rules.

Precedence is mergekit's: a model's own parameters within its slice, then the slice's, the module's, the file's. A setting
that is the same everywhere becomes a field or a member's value; others become rules. With several slices, what differs
between them becomes rules for their output layers, and for tensors outside any layer: those before the layers have the
first slice's parameters, those after them the last slice's.
"""

import re
from typing import Any

from hf_compress._errors import CompressionError
from hf_compress._registry import unknown
from hf_compress.checkpoints.layers import OUTSIDE_AFTER, OUTSIDE_BEFORE
from hf_compress.merging.configuration import BASE, Rule, Value
from hf_compress.merging.mergekit.methods import OUR_NAMES, PARAMETERS, REQUIRED, MergekitMethod
from hf_compress.merging.mergekit.models import NamedModel, Piece
from hf_compress.merging.mergekit.nodes import Node
from hf_compress.merging.mergekit.settings import Chain, Choice, is_complete, read_chain, rules_of
from hf_compress.merging.method import MergeMethod
from hf_compress.merging.plan.checks import parameter_names, per_member

_LAYER_NUMBER = re.compile(r"(?:^|\.)\d")


class ParameterReader:
    """Reads all parameters; afterwards `rules` and `notes` hold what did not fit into fields and values.

    Args:
        known: what mergekit knows of the method.
        cls: our method.
        pieces: the slices, or the whole merge.
        outer: `parameters` of the module and of the file.
        labels: of the models.
        node: of merge_method, for errors.
    """

    def __init__(
        self,
        known: MergekitMethod,
        cls: type[MergeMethod],
        pieces: list[Piece],
        outer: tuple[dict[str, Node], ...],
        labels: dict[NamedModel, str],
        node: Node,
    ) -> None:
        self.known, self.cls, self.pieces, self.outer, self.labels, self.node = known, cls, pieces, outer, labels, node
        self.rules: list[Rule] = []
        self.notes: list[str] = []
        self.default = cls()
        for piece in pieces:
            self._check_names(piece.parameters)
            for each in piece.inputs:
                self._check_names(each.parameters, True, labels[each.reference] == BASE)
        for level in outer:
            self._check_names(level)

    def method(self) -> MergeMethod:
        """The method with the fields that all tensors share."""
        fields: dict[str, Any] = {}
        for name, default in self.known.shared.items():
            if name.startswith("nuslerp"):
                continue
            chains = [read_chain(name, (piece.parameters, *self.outer)) for piece in self.pieces]
            chains = [
                self._completed(name, chain, default, piece.node) for chain, piece in zip(chains, self.pieces, strict=True)
            ]
            ours = self._our_name(name, own=False)
            if ours is None:
                self._require_default(name, chains, default)
                continue
            value = self._place(ours, dict(enumerate(chains)), member=None)
            if isinstance(value, list):
                self.rules.insert(0, Rule(set={ours: value}))
            elif value is not None:
                fields[ours] = value
        if self.cls.name == "nuslerp":
            fields["along"] = self._along()
        try:
            return self.cls(**fields)
        except CompressionError as error:
            self._line_of(str(error).partition("=")[0]).refuse(str(error))

    def _line_of(self, ours: str) -> Node:
        """Where the value of a shared parameter stands, for errors."""
        names = [name for name in self.known.shared if OUR_NAMES.get(name, name) == ours]
        return next((level[name] for level in self.outer for name in names if name in level), self.node)

    def members(self, references: list[NamedModel]) -> dict[str, dict[str, Value]]:
        """Label -> parameter -> value; what differs between tensors becomes rules."""
        values: dict[str, dict[str, Value]] = {self.labels[each]: {} for each in references}
        for name, default in self.known.own.items():
            ours = self._our_name(name, own=True)
            for reference in references:
                chains: dict[int, Chain] = {}
                for number, piece in enumerate(self.pieces):
                    for each in piece.inputs:
                        if each.reference == reference:
                            chain = read_chain(name, (each.parameters, piece.parameters, *self.outer))
                            chains[number] = self._completed(name, chain, default, each.node)
                if ours is None:
                    self._require_default(name, list(chains.values()), default)
                    continue
                label = self.labels[reference]
                value = self._place(ours, chains, member=label)
                if value is not None:
                    values[label][ours] = value
        return values

    def _place(self, ours: str, chains: dict[int, Chain], member: str | None) -> Value | None:
        """Emit rules for what is not the same for all tensors.

        Args:
            ours: our name of the parameter.
            chains: slice number -> choices.
            member: whose they are.

        Returns:
            The value that holds where no rule says otherwise; None = our default.
        """
        first, *rest = chains.values()
        if all(chain == first for chain in rest):
            last = first[-1] if is_complete(first) else None
            self._check_filters(first)
            self.rules += rules_of(first[: -1 if last else None], ours, member=member)
            return None if last is None else last.value
        start = 0
        for number, piece in enumerate(self.pieces):
            if number in chains:
                self._check_filters(chains[number])
                layers = (start, start + piece.num_layers)
                self.rules += rules_of(chains[number], ours, member=member, layers=layers)
            start += piece.num_layers
        if 0 in chains:
            self.rules += rules_of(chains[0], ours, member=member, where=OUTSIDE_BEFORE)
        if len(self.pieces) - 1 in chains:
            self.rules += rules_of(chains[len(self.pieces) - 1], ours, member=member, where=OUTSIDE_AFTER)
        return None

    def _completed(self, name: str, chain: Chain, default: Any, node: Node) -> Chain:
        """The choices with mergekit's default at the end.

        Raises:
            CompressionError: there is none, and a tensor could be left without a value.
        """
        if is_complete(chain) or default is None:
            return chain
        if default is REQUIRED:
            what = f"{name} has filters, but no value for other tensors" if chain else f"{name} is missing"
            node.refuse(f"{what}; mergekit has no default for it: add `{'- value: ...' if chain else f'{name}: ...'}`")
        return (*chain, Choice(None, default))

    def _our_name(self, name: str, own: bool) -> str | None:
        ours = OUR_NAMES.get(name, name)
        return ours if ours in (per_member(self.default) if own else parameter_names(self.default)) else None

    def _along(self) -> str:
        """NuSLERP's two switches, which are one choice here, for all tensors."""
        switches = {}
        for name, default in (("nuslerp_flatten", True), ("nuslerp_row_wise", False)):
            chains = {(*read_chain(name, (piece.parameters, *self.outer)), Choice(None, default)) for piece in self.pieces}
            values = {choice.value for chain in chains for choice in chain[: 1 if chain[0].filter is None else None]}
            if len(values) != 1:
                self.node.refuse(f"{name} differs between tensors, which is not supported; give one value for all")
            switches[name] = values.pop()
        return "tensor" if switches["nuslerp_flatten"] else "columns" if switches["nuslerp_row_wise"] else "rows"

    def _require_default(self, name: str, chains: list[Chain], default: Any) -> None:
        """A parameter without a counterpart may only say what holds anyway."""
        for chain in chains:
            if any(choice.value != default for choice in chain):
                self.node.refuse(
                    f"{name} is not supported for {self.cls.name}; leave it out, or give its default, {default}"
                )

    def _check_filters(self, chain: Chain) -> None:
        """A model's filters are compared with the names in that model there, and with the result's here."""
        moved = any(
            each.layers and each.layers[0] != sum(before.num_layers for before in self.pieces[:number])
            for number, piece in enumerate(self.pieces)
            for each in piece.inputs
        )
        for choice in chain:
            if moved and choice.filter is not None and _LAYER_NUMBER.search(choice.filter):
                self.node.refuse(f"filter {choice.filter!r} names a layer by number, and the slices renumber layers")

    def _check_names(self, level: dict[str, Node], inner: bool = False, base: bool = False) -> None:
        for name, node in level.items():
            if name not in PARAMETERS:
                node.refuse(unknown("parameter", name, PARAMETERS))
            if name in self.known.idle or (name not in self.known.own and name not in self.known.shared):
                self.notes.append(f"line {node.line}: {name} has no effect in {self.cls.name}")
            elif base and name in self.known.own:
                self.notes.append(f"line {node.line}: {name} of the base has no effect in {self.cls.name}")
            elif inner and name in self.known.shared:
                self.notes.append(f"line {node.line}: {name} of one model has no effect; it is one for all of them")
