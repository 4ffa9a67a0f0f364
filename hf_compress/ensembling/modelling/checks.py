"""What is refused before members become an ensemble."""

from typing import Any

from hf_compress._errors import CompressionError
from hf_compress.ensembling.modelling.heads import BY_LABELS, BY_POSITION, BY_RECORDING


def check_names(names: list[str], num_members: int) -> None:
    """Refuse fewer than two members, and names that do not tell them apart.

    Raises:
        CompressionError: saying which.
    """
    if num_members < 2:
        raise CompressionError(f"an ensemble of {num_members} member(s) is none; give two or more")
    if len(names) != num_members:
        raise CompressionError(f"{len(names)} names for {num_members} members; give one each")
    for name in names:
        if names.count(name) > 1:
            raise CompressionError(f"two members are called {name!r}; give them names that differ")


def check_heads(models: list[Any], heads: list[str], names: list[str]) -> None:
    """Refuse members that answer other questions.

    Raises:
        CompressionError: with the two that differ.
    """
    for name, head in zip(names, heads, strict=True):
        if head != heads[0]:
            raise CompressionError(
                f"member {name!r} is loaded by {head}, member {names[0]!r} by {heads[0]}; members of an ensemble have"
                " the same kind of head"
            )
    for name, model in zip(names, models, strict=True):
        kinds = [problem_of(models[0].config), problem_of(model.config)]
        if heads[0] in BY_LABELS and kinds[0] != kinds[1]:
            raise CompressionError(f"member {name!r} is for {kinds[1]}, member {names[0]!r} for {kinds[0]}")


def check_groups(groups: list[int], auto_class: str, names: list[str]) -> None:
    """Refuse members that read other tokens where answers belong to tokens.

    Raises:
        CompressionError: naming the first that does.
    """
    other = next((name for name, group in zip(names, groups, strict=True) if group), None)
    if other is not None and auto_class in BY_RECORDING:
        raise CompressionError(
            f"member {other!r} has another feature extractor than member {names[0]!r}, and an ensemble for"
            f" {auto_class} reads one; take members with one"
        )
    if other is not None and auto_class in BY_POSITION:
        raise CompressionError(
            f"member {other!r} has another tokenizer than member {names[0]!r}, and {auto_class} answers token by token;"
            " take members with one tokenizer"
        )


def problem_of(config: Any) -> str:
    """What a config's labels are: numbers, several at once or one of them."""
    kind = getattr(config, "problem_type", None)
    if kind == "regression" or (kind is None and config.num_labels == 1):
        return "numbers (regression)"
    return "several labels at once" if kind == "multi_label_classification" else "one label of several"
