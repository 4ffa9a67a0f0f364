"""YAML as a tree that knows its lines, so that a refusal names the line."""

import dataclasses
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NoReturn

import yaml

from hf_compress._errors import CompressionError
from hf_compress._registry import unknown
from hf_compress._yaml import PlainLoader

_MOST_NODES = 100_000
"""More than any configuration needs; aliases of aliases could otherwise grow without end."""


_PLAIN = (yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, yaml.resolver.BaseResolver.DEFAULT_SEQUENCE_TAG)
_TRUE = ("true", "yes", "on", "y", "t", "1", "1.0")
_FALSE = ("false", "no", "off", "n", "f", "0", "0.0")


class _Loader(PlainLoader):
    """mergekit reads YAML 1.1, so `yes` is a boolean here too; only 1e-5 becomes the number that is meant.

    Attributes:
        anchored: the nodes that have an anchor, by id.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.anchored: dict[int, yaml.Node] = {}

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """The next node."""
        event = self.peek_event()
        node = super().compose_node(parent, index)
        if node is not None and not isinstance(event, yaml.AliasEvent) and getattr(event, "anchor", None):
            self.anchored[id(node)] = node
        return node


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(?:\.\d*)?[eE][-+]?\d+\Z"), list("-+0123456789")
)
_Loader.yaml_constructors = {
    **PlainLoader.yaml_constructors,
    "tag:yaml.org,2002:timestamp": yaml.SafeLoader.construct_yaml_timestamp,  # refused later, with its key
}


@dataclass(frozen=True)
class Node:
    """One value of the file.

    Attributes:
        value: a mapping name -> node, a list of nodes, or a plain value.
        line: where it stands, from 1; of its key, where it has one.
        source: the file's name.
        anchored: it, or something in it, has an anchor, so that other places can refer to it.
    """

    value: Any
    line: int
    source: str
    anchored: bool = False

    def refuse(self, message: str) -> NoReturn:
        """Stop with one sentence that starts with the place."""
        raise CompressionError(f"{self.source}, line {self.line}: {message}")

    def mapping(self, what: str, keys: Iterable[str] | None = None) -> dict[str, "Node"]:
        """The mapping, whose keys must be among `keys`; {} where nothing stands.

        Raises:
            CompressionError: it is not one, or a key is unknown.
        """
        if self.value is None:
            return {}
        if not isinstance(self.value, dict):
            self.refuse(f"{what} must be a mapping, and {_shown(self.value)} is not one")
        if keys is not None:
            known = list(keys)
            for key, node in self.value.items():
                if key not in known:
                    node.refuse(unknown(f"key of {what}", key, known))
        return self.value

    def items(self, what: str) -> list["Node"]:
        """The list.

        Raises:
            CompressionError: it is not one, or empty.
        """
        if not isinstance(self.value, list) or not self.value:
            self.refuse(f"{what} must be a list with at least one entry")
        return self.value

    def text(self, what: str) -> str:
        """The text.

        Raises:
            CompressionError: it is not one, or empty.
        """
        if not isinstance(self.value, str) or not self.value:
            self.refuse(f"{what} must be text, and {_shown(self.value)} is not text; put it in quotes")
        return self.value

    def whole(self, what: str) -> int:
        """The whole number, 0 or more.

        Raises:
            CompressionError: it is not one.
        """
        if isinstance(self.value, bool) or not isinstance(self.value, int) or self.value < 0:
            self.refuse(f"{what} must be a whole number, and {_shown(self.value)} is not one")
        return self.value

    def truth(self, what: str) -> bool:
        """A boolean, or what mergekit takes for one: 0, 1 and a few words.

        Raises:
            CompressionError: it is not one.
        """
        value = str(self.value).lower()
        if value not in _TRUE + _FALSE:
            self.refuse(f"{what} must be true or false, and {_shown(self.value)} is neither")
        return value in _TRUE

    def number(self, what: str) -> float:
        """A finite number, also where it is quoted.

        Raises:
            CompressionError: it is not one.
        """
        try:
            number = float(self.value)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            self.refuse(f"{what} must be a number, and {_shown(self.value)} is not one")
        return number


def read_nodes(text: str, source: str) -> Node:
    """The tree of a YAML text with one document.

    Args:
        text: the file's content.
        source: its name, for errors.

    Raises:
        CompressionError: see `read_documents`; it holds several.
    """
    roots = read_documents(text, source)
    if len(roots) > 1:
        raise CompressionError(
            f"{source} holds {len(roots)} documents, so it is a mergekit-multi file; `hf-compress merge FILE OUT` runs it,"
            " and here one merge is wanted: give each its own file"
        )
    return roots[0]


def read_documents(text: str, source: str) -> list[Node]:
    """The trees of a YAML text, one for each document in it.

    Args:
        text: the file's content.
        source: its name, for errors.

    Raises:
        CompressionError: the text is not YAML, holds no document, or a key stands twice.
    """
    try:
        loader = _Loader(text)
    except yaml.YAMLError as error:
        raise CompressionError(f"{source} is not valid YAML: {str(error).splitlines()[0]}") from error
    try:
        builder, found = _Builder(loader, source), []
        while loader.check_node():
            root = loader.get_node()
            assert root is not None
            _check_keys(root, set())
            found.append(builder.node(root, root.start_mark.line + 1))
        if not found:
            raise CompressionError(f"{source} is empty; a merge needs merge_method and models")
        return found
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f", line {mark.line + 1}" if mark else ""
        raise CompressionError(f"{source}{where}: not valid YAML: {error.problem}") from error
    except RecursionError as error:
        raise CompressionError(f"{source} contains itself through an alias") from error
    finally:
        loader.dispose()


class _Builder:
    def __init__(self, loader: _Loader, source: str) -> None:
        self.loader, self.source, self.count = loader, source, 0

    def node(self, node: yaml.Node, line: int) -> Node:
        self.count += 1
        if self.count > _MOST_NODES:
            raise CompressionError(f"{self.source}: its aliases unfold to more than {_MOST_NODES} values")
        if not isinstance(node, yaml.ScalarNode) and node.tag not in _PLAIN:
            raise yaml.MarkedYAMLError(problem=f"the tag {node.tag} is not supported", problem_mark=node.start_mark)
        if isinstance(node, yaml.SequenceNode):
            items = [self.node(item, item.start_mark.line + 1) for item in node.value]
            return Node(items, line, self.source, self._is_anchored(node, items))
        if not isinstance(node, yaml.MappingNode):
            return Node(self.loader.construct_object(node), line, self.source, self._is_anchored(node, []))
        self.loader.flatten_mapping(node)  # merge keys; the mapping's own keys come last and win
        mapping = {}
        for key, value in node.value:
            built = self.node(value, key.start_mark.line + 1)
            # What an alias stands for begins where its anchor is, before the key.
            is_alias = value.start_mark.index < key.start_mark.index
            mapping[key.value] = dataclasses.replace(built, anchored=False) if is_alias else built
        return Node(mapping, line, self.source, self._is_anchored(node, list(mapping.values())))

    def _is_anchored(self, node: yaml.Node, below: list[Node]) -> bool:
        return id(node) in self.loader.anchored or any(item.anchored for item in below)


def _check_keys(node: yaml.Node, seen: set[int]) -> None:
    """Refuse keys that are no words or stand twice; before merge keys are unfolded, which may say a key again."""
    if isinstance(node, yaml.ScalarNode) or id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _check_keys(item, seen)
        return
    own: set[str] = set()
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise yaml.MarkedYAMLError(problem="a key must be one word", problem_mark=key.start_mark)
        if key.value in own and key.value != "<<":
            raise yaml.MarkedYAMLError(problem=f"the key {key.value!r} stands twice", problem_mark=key.start_mark)
        own.add(key.value)
        _check_keys(value, seen)


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    return "nothing" if value is None else repr(value)
