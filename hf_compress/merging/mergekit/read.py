"""A mergekit configuration, as it stands, as a `Merge`; or refused at the line that is not supported."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hf_compress._errors import CompressionError
from hf_compress._registry import unknown
from hf_compress.merging.configuration import BASE, Member, Merge, Tokenizer
from hf_compress.merging.mergekit.chat_templates import CHAT_TEMPLATES
from hf_compress.merging.mergekit.methods import METHODS, MergekitMethod
from hf_compress.merging.mergekit.models import NamedModel, check_pieces, read_pieces, read_reference, slices_of
from hf_compress.merging.mergekit.nodes import Node, read_nodes
from hf_compress.merging.mergekit.parameters import ParameterReader
from hf_compress.merging.method import MergeMethod
from hf_compress.merging.plan.checks import check_merge

_KEYS = (
    *("merge_method", "base_model", "models", "slices", "modules", "parameters", "dtype", "out_dtype"),
    *("tokenizer_source", "tokenizer", "chat_template"),
)
_READ_OVER = ("name", "output_dir", "output_path")
_DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What a mergekit configuration asks for.

    Attributes:
        merge: the job, with compat "mergekit".
        notes: settings that mergekit takes and that change nothing, one sentence each.
    """

    merge: Merge
    notes: tuple[str, ...] = ()


def import_mergekit(text: str, source: str) -> Imported:
    """Read a mergekit configuration (version 0.1.5).

    Args:
        text: the YAML.
        source: the file's name, for errors.

    Raises:
        CompressionError: file, line and one sentence: what is unknown, not supported, or refused by mergekit too.
    """
    return import_document(read_nodes(text, source))


def import_document(root: Node, stages: Mapping[str, str] | None = None) -> Imported:
    """Read one document.

    Args:
        root: of its tree.
        stages: results of other documents of the file: their names, which stand for folders.

    Raises:
        CompressionError: see `import_mergekit`.
    """
    source, names_results = root.source, stages is not None
    stages = stages or {}
    top, notes = _top(root, names_results)
    if "merge_method" not in top:
        root.refuse("merge_method is missing, so this is not a mergekit configuration")
    name = top["merge_method"].text("merge_method")
    if name not in METHODS:
        top["merge_method"].refuse(unknown("merge_method", name, METHODS))
    cls = MergeMethod.available().get(name)
    if cls is None:
        top["merge_method"].refuse(f"{name} is not among the installed merge methods")
    known = METHODS[name]
    base = read_reference(top["base_model"], "base_model") if "base_model" in top else None
    pieces, module = read_pieces(top, root, base)
    check_pieces(name, known, pieces, base, root)
    inputs = dict.fromkeys(each.reference for piece in pieces for each in piece.inputs)
    members = [each for each in inputs if known.base == "input" or each != base]
    labels = {each: each.label for each in members}
    if base is not None and base not in labels:
        labels[base] = BASE
    outer = (module, top["parameters"].mapping("parameters") if "parameters" in top else {})
    parameters = ParameterReader(known, cls, pieces, outer, labels, top["merge_method"])
    method = parameters.method()
    values = parameters.members(members)
    compared = _compared_with(base, known, members, top)
    try:
        merge = Merge(
            method=method,
            members=tuple(
                Member(
                    stages.get(each.model, each.model),
                    adapter=each.adapter,
                    name=None if labels[each] == each.plain and each.model not in stages else labels[each],
                    weight=values[labels[each]].pop("weight", 1.0),
                    values=values[labels[each]],
                )
                for each in members
            ),
            base=None if compared is None else stages.get(compared.model, compared.model),
            base_adapter=None if compared is None else compared.adapter,
            rules=tuple(parameters.rules),
            slices=slices_of(pieces, labels),
            tokenizer=_tokenizer(top, labels, base),
            dtype=_dtype(top, "out_dtype" if "out_dtype" in top else "dtype"),
            input_dtype=_dtype(top, "dtype"),
            chat_template=_chat_template(top),
            compat="mergekit",
        )
    except CompressionError as error:
        if str(error).startswith(source):
            raise
        root.refuse(str(error))
    problems = check_merge(merge)
    if problems:
        root.refuse("; ".join(problems))
    return Imported(merge=merge, notes=tuple(dict.fromkeys([*notes, *parameters.notes])))


def _top(root: Node, names_results: bool) -> tuple[dict[str, Node], list[str]]:
    """The keys that say something, and notes about those that do not.

    mergekit reads over every key it does not know. Here that holds for what other tools put there (a name, a place to
    write to) and for what holds anchors; anything else may be a misspelt setting.
    """
    given = root.mapping("a mergekit configuration")
    notes = []
    for key, node in given.items():
        if key in _KEYS:
            continue
        if key in _READ_OVER:
            if key == "name" and names_results:
                continue
            notes.append(f"line {node.line}: {key} has no effect; the command says where to write")
        elif not node.anchored:
            node.refuse(unknown("key of a mergekit configuration", key, _KEYS))
    return {key: node for key, node in given.items() if key in _KEYS and node.value is not None}, notes


def _compared_with(
    base: NamedModel | None, known: MergekitMethod, members: list[NamedModel], top: dict[str, Node]
) -> NamedModel | None:
    """The base; None where it is simply the first member, whose config and tokenizer the result has anyway.

    With other tokenizers it is more: models that lack a token get the base's row.
    """
    aligned = "tokenizer" in top or "tokenizer_source" in top
    if base is None or (known.base == "input" and members[0] == base and not aligned):
        return None
    return base


def _dtype(top: dict[str, Node], key: str) -> Any:
    if key not in top:
        return "auto"
    name = top[key].text(key).removeprefix("torch.")
    if name not in _DTYPES:
        top[key].refuse(f"{key}: {name} is not a type that results are stored in; write {', '.join(_DTYPES)}")
    return name


def _chat_template(top: dict[str, Node]) -> str | None:
    if "chat_template" not in top:
        return None
    template = top["chat_template"].text("chat_template")
    if template == "auto" or "{" in template:
        return template
    if template not in CHAT_TEMPLATES:
        top["chat_template"].refuse(unknown("chat_template", template, ["auto", *CHAT_TEMPLATES]))
    return CHAT_TEMPLATES[template]


def _tokenizer(top: dict[str, Node], labels: dict[NamedModel, str], base: NamedModel | None) -> Tokenizer | None:
    if "tokenizer_source" in top:
        if "tokenizer" in top:
            top["tokenizer"].refuse("tokenizer and tokenizer_source cannot stand together; keep one")
        return Tokenizer(source=_tokenizer_source(top["tokenizer_source"], labels, base))
    if "tokenizer" not in top:
        return None
    fields = top["tokenizer"].mapping("tokenizer", ("source", "tokens", "pad_to_multiple_of"))
    source, multiple = fields.get("source"), fields.get("pad_to_multiple_of")
    rows: dict[str, str] = {}
    missing_rows: dict[str, str] = {}
    for token, node in fields["tokens"].mapping("tokens").items() if "tokens" in fields else ():
        label, force = _row(token, node, labels)
        (rows if force else missing_rows)[token] = label
    return Tokenizer(
        source="union" if source is None else _tokenizer_source(source, labels, base),
        rows=rows,
        missing_rows=missing_rows,
        pad_to_multiple_of=None if multiple is None or multiple.value is None else multiple.whole("pad_to_multiple_of"),
    )


def _tokenizer_source(node: Node, labels: dict[NamedModel, str], base: NamedModel | None) -> str:
    if node.value == "union":
        return "union"
    if node.value == "base":
        if base is None:
            node.refuse("the tokenizer of the base is asked for, and there is no base_model; name a model")
        return labels[base]
    return _label(node, "tokenizer source", labels)


def _row(token: str, node: Node, labels: dict[NamedModel, str]) -> tuple[str, bool]:
    """The label of the model whose row a token gets, and whether those models get it too that have one (`force`)."""
    fields = node.mapping("a token", ("source", "force"))
    if "source" not in fields or fields["source"].value is None:
        node.refuse(f"the row of {token!r} needs a source; name a model, or leave the token out")
    source, force = fields["source"], "force" in fields and fields["force"].truth("force")
    if isinstance(source.value, dict) and "kind" in source.value:
        inner = source.mapping("source", ("kind", "model", "token", "token_id"))
        same = inner["kind"].value == "model_token" and "token" in inner and inner["token"].value == token
        if not same or "model" not in inner:
            source.refuse(f"the row of {token!r} can only be the same token's row in a model; zero rows and others are not")
        return _label(inner["model"], "source", labels), force
    return _label(source, "source", labels), force


def _label(node: Node, what: str, labels: dict[NamedModel, str]) -> str:
    reference = read_reference(node, what)
    if reference not in labels:
        node.refuse(unknown(f"model in {what}", reference.plain, [each.plain for each in labels]))
    return labels[reference]
