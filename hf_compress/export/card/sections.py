"""What every card is made of: text with a heading, lists, code, and how to make the same again."""

from collections.abc import Iterable, Mapping
from typing import Any

from hf_compress._yaml import write_yaml
from hf_compress.checkpoints.manifest import WEIGHTS, Manifest

_HERE = "<this repository or folder>"
_LOCAL = "./"


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
    lines = [f'{variable} = {name}.from_pretrained("{_HERE}")' for variable, name in there.items()]
    return "\n".join(["```python", f"from transformers import {imported}", "", *lines, "```"])


def minded(loading: str | None) -> Iterable[str]:
    """What loading asks of the user, where it asks something."""
    return [f"Mind: {loading}."] if loading else []


def method_line(method: Mapping[str, Any]) -> str:
    """What a method is, by its kind and name, in a sentence where the manifest has one, and where it was published."""
    said = f": {method['summary']}" if method.get("summary") else ""
    source = f" ({method['reference']})" if method["reference"] else ""
    options = ", ".join(f"{key} {value}" for key, value in method.get("options", {}).items() if key != "name")
    return f"- {method['kind']} `{method['name']}`{f' ({options})' if options else ''}{said}{source}"


def place_name(name: str) -> str:
    """A model or data in words: that it is of the user's own machine, where it is."""
    return f"`{name.removeprefix(_LOCAL)}`, a local folder" if name.startswith(_LOCAL) else f"`{name}`"


def serving(pipeline: str | None, vllm: bool) -> list[str]:
    """How to serve text; nothing for other tasks.

    Args:
        pipeline: the Hub's name of the task.
        vllm: vLLM reads the format.
    """
    if pipeline != "text-generation":
        return []
    command = f'transformers serve "{_HERE}"'
    lines = ["```bash", command, *([f'vllm serve "{_HERE}"'] if vllm else []), "```"]
    said = (
        "vLLM reads this format; whether it has kernels for these shapes on a machine was not tried."
        if vllm
        else "vLLM does not read this format."
    )
    return [section("Serve", "\n".join(lines), said)]


def files(manifest: Manifest) -> list[str]:
    """The hashes of the files beside the card; nothing for manifests of versions that did not write them."""
    known = {**manifest.facts.get(WEIGHTS, {}), **manifest.facts.get("files", {})}
    if not known:
        return []
    rows = [f"| `{name}` | `{digest}` |" for name, digest in known.items()]
    return [section("Files", "\n".join(["| file | SHA-256 |", "| --- | --- |", *rows]))]


def licence(manifest: Manifest) -> list[str]:
    """Under which licence the weights may be used; nothing for manifests of versions that did not look for it."""
    if "license" not in manifest.facts:
        return []
    known = manifest.facts["license"]
    if known:
        name = known.get("license_name", known["license"])
        linked = f"[{name}]({known['license_link']})" if "license_link" in known else name
        return [section("License", f"That of what it was made from: {linked}.")]
    return [section("License", "Not known: what it was made from names none here. Name one before you publish it.")]


def made(manifest: Manifest) -> str:
    """When, and with what."""
    versions = ", ".join(f"{name} {version}" for name, version in manifest.versions.items())
    return f"Made on {manifest.created} with {versions}."


def recipe(manifest: Manifest) -> str:
    """What was asked for, as the file that asks for it again."""
    text = write_yaml(manifest.recipe, width=80)
    local = [f"Names that begin with `{_LOCAL}` are files and folders of the machine it was made on; put yours there."]
    return section("Recipe", *(local if f" {_LOCAL}" in text else []), f"```yaml\n{text}```")
