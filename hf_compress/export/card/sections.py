"""What every card is made of: text with a heading, lists, code, and how to make the same again."""

from collections.abc import Iterable, Mapping
from typing import Any

from hf_compress._yaml import write_yaml
from hf_compress.checkpoints.manifest import Manifest

_HERE = '"<this repository or folder>"'


def section(title: str, *blocks: str) -> str:
    """Blocks under a heading."""
    return "\n\n".join([f"## {title}", *blocks])


def bullets(facts: Mapping[str, Any]) -> str:
    """A list of names and what they are."""
    return "\n".join(f"- {name}: {value}" for name, value in facts.items())


def named(method: Mapping[str, Any]) -> str:
    """A method's name as code, and where it was published."""
    return f"`{method['name']}`" + (f" ({method['reference']})" if method["reference"] else "")


def loading_code(classes: Mapping[str, str | None], alphabetical: bool = False) -> str:
    """The lines that load what lies beside the card, by classes of transformers.

    Args:
        classes: variable -> class; None for what is not there.
        alphabetical: import them in this order, not in the one that they are given in.
    """
    there = {variable: name for variable, name in classes.items() if name is not None}
    imported = ", ".join(sorted(there.values()) if alphabetical else there.values())
    lines = [f"{variable} = {name}.from_pretrained({_HERE})" for variable, name in there.items()]
    return "\n".join(["```python", f"from transformers import {imported}", "", *lines, "```"])


def minded(loading: str | None) -> Iterable[str]:
    """What loading asks of the user, where it asks something."""
    return [f"Mind: {loading}."] if loading else []


def made(manifest: Manifest) -> str:
    """When, and with what."""
    versions = ", ".join(f"{name} {version}" for name, version in manifest.versions.items())
    return f"Made on {manifest.created} with {versions}."


def recipe(manifest: Manifest) -> str:
    """What was asked for, as the file that asks for it again."""
    return section("Recipe", f"```yaml\n{write_yaml(manifest.recipe, width=80)}```")
