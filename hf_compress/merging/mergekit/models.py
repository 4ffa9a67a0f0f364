"""The models, slices and modules of a mergekit configuration."""

from dataclasses import dataclass

from hf_compress.merging.configuration import BASE, LayerRange, Slice
from hf_compress.merging.mergekit.methods import MergekitMethod
from hf_compress.merging.mergekit.nodes import Node


@dataclass(frozen=True)
class NamedModel:
    """A model as mergekit names it: `model` or `model+adapter`."""

    model: str
    adapter: str | None = None

    @property
    def plain(self) -> str:
        """As it is written."""
        return f"{self.model}+{self.adapter}" if self.adapter else self.model

    @property
    def label(self) -> str:
        """Its label in the merge; a folder called like a reserved word is told apart."""
        return f"./{self.plain}" if self.plain in (BASE, "union") else self.plain


@dataclass(frozen=True)
class Input:
    """One model of one slice, or of the whole merge (then without layers)."""

    reference: NamedModel
    node: Node
    parameters: dict[str, Node]
    layers: tuple[int, int] | None = None


@dataclass(frozen=True)
class Piece:
    """One slice, or the whole merge."""

    inputs: tuple[Input, ...]
    node: Node
    parameters: dict[str, Node]

    @property
    def num_layers(self) -> int:
        """Of the slice; 0 for the whole merge."""
        layers = self.inputs[0].layers
        return layers[1] - layers[0] if layers else 0


def read_reference(node: Node, what: str) -> NamedModel:
    """`path`, `path+adapter`, or the same as a mapping.

    Raises:
        CompressionError: it is neither, or pins a revision or an architecture.
    """
    if isinstance(node.value, dict):
        fields = node.mapping(what, ("model", "lora", "override_architecture"))
        if "override_architecture" in fields and fields["override_architecture"].value is not None:
            fields["override_architecture"].refuse(
                "override_architecture is not supported; correct the model's config.json"
            )
        if "model" not in fields:
            node.refuse(f"{what} names no model")
        adapter = fields.get("lora")
        has_adapter = adapter is not None and adapter.value is not None
        return NamedModel(_path(fields["model"], what), _path(adapter, what) if adapter and has_adapter else None)
    parts = node.text(what).split("+")
    if len(parts) > 2 or not all(parts):
        node.refuse(f"{what}: {node.value!r} names no model; write model, or model+adapter for one with a LoRA adapter")
    return NamedModel(*(_path(Node(part, node.line, node.source), what) for part in parts))


def _path(node: Node, what: str) -> str:
    if isinstance(node.value, dict):
        fields = node.mapping(what, ("path", "revision"))
        if "path" not in fields:
            node.refuse(f"{what} names no path")
        if "revision" in fields and fields["revision"].value is not None:
            fields["revision"].refuse("a revision is not supported; download it with `hf download` and name the folder")
        return fields["path"].text(what)
    path = node.text(what)
    if "@" in path:
        node.refuse(f"{path}: a revision is not supported; download it with `hf download --revision` and name the folder")
    return path


def read_pieces(top: dict[str, Node], root: Node, base: NamedModel | None) -> tuple[list[Piece], dict[str, Node]]:
    """The slices (one without layers where models are merged whole), and the module's parameters.

    Raises:
        CompressionError: with the line.
    """
    given = [key for key in ("models", "slices", "modules") if key in top and top[key].value]
    if len(given) != 1:
        said = ", ".join(given) or "none of them"
        root.refuse(f"exactly one of models, slices and modules must stand, and here it is {said}")
    level: dict[str, Node] = top
    module: dict[str, Node] = {}
    if given == ["modules"]:
        modules = top["modules"].mapping("modules")
        if list(modules) != ["default"]:
            top["modules"].refuse(
                "modules other than `default` are not supported; merge the whole model, with filters for its parts"
            )
        level = modules["default"].mapping("a module", ("models", "slices", "parameters"))
        if len([key for key in ("models", "slices") if key in level and level[key].value]) != 1:
            modules["default"].refuse("a module needs either models or slices")
        module = _parameters(level)
    if "models" in level and level["models"].value:
        return [_whole(level["models"], base, top)], module
    return [_piece(node, base) for node in level["slices"].items("slices")], module


def _whole(node: Node, base: NamedModel | None, top: dict[str, Node]) -> Piece:
    inputs = []
    for item in node.items("models"):
        fields = item.mapping("an entry of models", ("model", "parameters"))
        inputs.append(Input(_model(item, fields), item, _parameters(fields)))
    if base is not None and base not in [each.reference for each in inputs]:
        inputs.append(Input(base, top["base_model"], {}))  # mergekit lists it last, without parameters of its own
    return Piece(tuple(inputs), node, {})


def _piece(node: Node, base: NamedModel | None) -> Piece:
    fields = node.mapping("an entry of slices", ("sources", "parameters", "base_model", "residual_weight"))
    if "residual_weight" in fields and fields["residual_weight"].value is not None:
        fields["residual_weight"].refuse("residual_weight is not supported (mergekit 0.1.5 ignores it); leave it out")
    own_base = fields.get("base_model")
    if own_base is not None and own_base.value is not None and read_reference(own_base, "base_model") != base:
        own_base.refuse("a slice with a base of its own is not supported; name one base_model for the whole merge")
    if "sources" not in fields:
        node.refuse("this slice has no sources")
    inputs = [_input(item) for item in fields["sources"].items("sources")]
    if len({each.layers[1] - each.layers[0] for each in inputs if each.layers}) != 1:
        node.refuse("the sources of one slice need equally many layers")
    return Piece(tuple(inputs), node, _parameters(fields))


def _input(item: Node) -> Input:
    fields = item.mapping("an entry of sources", ("model", "layer_range", "parameters"))
    if "layer_range" not in fields:
        item.refuse("layer_range is missing; write [first, last + 1]")
    layers = [number.whole("layer_range") for number in fields["layer_range"].items("layer_range")]
    if len(layers) != 2 or not layers[0] < layers[1]:
        fields["layer_range"].refuse(f"layer_range {layers} is not a range; write [first, last + 1], e.g. [0, 8]")
    return Input(_model(item, fields), item, _parameters(fields), (layers[0], layers[1]))


def _model(item: Node, fields: dict[str, Node]) -> NamedModel:
    if "model" not in fields:
        item.refuse("this entry names no model")
    return read_reference(fields["model"], "model")


def _parameters(fields: dict[str, Node]) -> dict[str, Node]:
    return fields["parameters"].mapping("parameters") if "parameters" in fields else {}


def check_pieces(name: str, known: MergekitMethod, pieces: list[Piece], base: NamedModel | None, root: Node) -> None:
    """What mergekit requires of the models of each slice.

    Raises:
        CompressionError: with the line.
    """
    if known.base == "required" and base is None:
        root.refuse(f"{name} needs base_model")
    for piece in pieces:
        references = [each.reference for each in piece.inputs]
        for number, each in enumerate(piece.inputs):
            if each.reference in references[:number]:
                each.node.refuse(f"{each.reference.plain} stands twice; mergekit takes each model once")
        with_base = known.base != "input" and base in references
        if known.base != "input" and base is not None and not with_base:
            piece.node.refuse(f"{name} needs the base_model among the sources of each slice")
        for count, (least, most), beside in (
            (len(references), known.inputs, ", the base included"),
            (len(references) - with_base, known.others, " beside the base"),
        ):
            if count < least or (most is not None and count > most):
                wanted = f"{least}" if least == most else f"at most {most}" if count > least else f"at least {least}"
                piece.node.refuse(f"{name} takes {wanted} models{beside}, and {count} are given")


def slices_of(pieces: list[Piece], labels: dict[NamedModel, str]) -> tuple[Slice, ...] | None:
    """The slices in our terms; None where models are merged whole."""
    if not pieces[0].num_layers:
        return None
    return tuple(
        Slice(
            sources=tuple(
                LayerRange(member=labels[each.reference], layers=each.layers) for each in piece.inputs if each.layers
            )
        )
        for piece in pieces
    )
