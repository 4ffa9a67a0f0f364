"""Where in the model a tensor sits, from its name alone.

A name's first number below a word for layers (`layers.3`, `h.3`, `block.3`, `encoder.layer.3`) is its layer; what stands
before it is the stack, so an encoder's layers and a decoder's are counted separately. Numbers below other words (experts,
parts of a classifier) are no layers. Where stages hold layers (`stages.1.layers.2`, `layers.1.blocks.2`) both numbers count
and the layers are numbered through, stage after stage. A checkpoint without any such word is read by its first number that
is no expert's.

A name outside any layer lies before the layers if it says so (embeddings, tokens, patches, stems, feature extractors: see
`comes_before`), else after them: final norms, poolers, heads.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

_WORDS = r"(?:h|(?!conv_layers\b)\w*(?:layers?|blocks?|stages?|layer_groups))"
_WORD = re.compile(_WORDS + r"\Z")
_STAGE = re.compile(r"\w*stages?\Z")
_INSIDE_STAGE = re.compile(r"(?:layers?|blocks?)\Z")

_BEFORE = (
    r"embed(?!_out)|(?:^|[._])(?:emb(?!ed_out)|wte|wpe|shared|stem|position|patch|conv[12]|conv_in|conv_layers"
    r"|(?:cls|class|mask|distillation|query)_tokens?|feature_extractor|feature_projection|pre_?lay?e?r_?norm)"
)
_BEFORE_LAYERS = re.compile(_BEFORE)


@dataclass(frozen=True, kw_only=True)
class LayerPlace:
    """Where one tensor sits.

    Attributes:
        stack: the name of its layer stack, e.g. "model.layers"; "" outside any layer.
        layer: its layer number in the stack; None outside.
        depth: layer / (layers of the stack - 1), in [0, 1]; 1 in a stack of one layer; outside: 0 before, 1 after.
        rest: the name after the stack and the number; "" outside.
        staged: its number was counted through stages, so it does not stand in the name.
    """

    stack: str
    layer: int | None
    depth: float
    rest: str = ""
    staged: bool = False


OUTSIDE = rf"(?!(?:.*\.)?{_WORDS}\.\d+\.)"
"""Regular expression, matched from a name's start: not in any layer."""
OUTSIDE_BEFORE = rf"{OUTSIDE}(?=.*?(?:{_BEFORE}))"
"""The same, and before the layers."""
OUTSIDE_AFTER = rf"{OUTSIDE}(?!.*?(?:{_BEFORE}))"
"""The same, and after them."""


@dataclass(frozen=True)
class _Key:
    stack: str
    numbers: tuple[int, ...]
    rest: str


def comes_before(name: str) -> bool:
    """Whether a name outside any layer belongs to what comes before the layers."""
    return _BEFORE_LAYERS.search(name) is not None


def locate(names: Iterable[str]) -> dict[str, LayerPlace]:
    """The place of every tensor of one checkpoint.

    Args:
        names: all of its tensors' names; the number of layers is taken from them.

    Returns:
        name -> place, in the order given.
    """
    names = list(names)
    keys = {name: _key(name.split("."), True) for name in names}
    if not any(keys.values()):
        keys = {name: _key(name.split("."), False) for name in names}
    found: dict[str, set[tuple[int, ...]]] = {}
    for key in keys.values():
        if key is not None:
            found.setdefault(key.stack, set()).add(key.numbers)
    numbering = {stack: _numbered(numbers) for stack, numbers in found.items()}
    last = {stack: max(numbers.values()) for stack, numbers in numbering.items()}
    staged = {stack: any(len(numbers) > 1 for numbers in found[stack]) for stack in found}
    places = {}
    for name, key in keys.items():
        if key is None:
            places[name] = LayerPlace(stack="", layer=None, depth=0.0 if comes_before(name) else 1.0)
            continue
        layer = numbering[key.stack][key.numbers]
        depth = layer / last[key.stack] if last[key.stack] else 1.0
        places[name] = LayerPlace(stack=key.stack, layer=layer, depth=depth, rest=key.rest, staged=staged[key.stack])
    return places


def _key(parts: list[str], by_word: bool) -> _Key | None:
    """Stack and numbers of one name, None outside any layer."""
    for index in range(1, len(parts) - 1):
        if not parts[index].isdecimal():
            continue
        container = parts[index - 1]
        if by_word and not _WORD.match(container):
            continue
        if not by_word and ("expert" in container or container.isdecimal()):
            continue
        numbers, end = [int(parts[index])], index + 1
        if by_word and parts[end].isdecimal():  # block.0.1: stages without a word between
            numbers.append(int(parts[end]))
            end += 1
        elif by_word and end + 1 < len(parts) and parts[end + 1].isdecimal():
            stages = _STAGE.match(container) is not None or parts[end] == "blocks"
            if stages and _INSIDE_STAGE.match(parts[end]):
                numbers.append(int(parts[end + 1]))
                end += 2
        return _Key(".".join(parts[:index]), tuple(numbers), ".".join(parts[end:]))
    return None


def _numbered(numbers: set[tuple[int, ...]]) -> dict[tuple[int, ...], int]:
    """Layer numbers: the name's own where there is one, else counted through the stages.

    What belongs to a stage but to none of its layers (downsampling) counts to the stage's first layer.
    """
    if all(len(each) == 1 for each in numbers):
        return {each: each[0] for each in numbers}
    deep = sorted(each for each in numbers if len(each) > 1)
    stages = {each[:1] for each in deep}
    whole = sorted([*deep, *(each for each in numbers if len(each) == 1 and each not in stages)])
    order = {each: index for index, each in enumerate(whole)}
    for each in numbers:
        if each not in order:
            order[each] = next(order[inner] for inner in deep if inner[:1] == each)
    return order
