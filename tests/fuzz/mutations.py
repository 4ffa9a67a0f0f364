"""Mistakes that nobody thought of: seeded changes of plain data, of text and of bytes."""

import contextlib
import copy
import json
import struct

from hf_compress._yaml import write_yaml

JUNK = [
    None,
    True,
    False,
    "",
    " ",
    "x",
    "re:(",
    "re:",
    "~nobody/x",
    "/dev/null",
    "../../../..",
    "a\0b",
    "é" * 400,
    "x" * 100_000,
    "60%",
    "-1%",
    "1e-5",
    "[1]",
    "train",
    "magnitude",
    "hf_AbCdEfGhIjKlMnOpQrStUvWxYz0123456789",
    -1,
    0,
    1,
    7,
    2**31,
    2**63,
    2**64,
    10**30,
    -(10**18),
    0.5,
    -0.5,
    1e308,
    float("inf"),
    float("nan"),
    [],
    [[]],
    [None],
    ["x", 1],
    {},
    {"name": "x"},
    {"a": {"b": [1, {"c": None}]}},
    {"__float__": "Infinity"},
]
"""Values for any place."""
TEXTS = [
    "[" * 500,
    "{" * 400,
    "[" * 200 + "]" * 200,
    "!!int abc",
    "!!float abc",
    "!!bool abc",
    "!!timestamp abc",
    "!!binary Ynl0ZXM=",
    "!!set {a, b}",
    "!!null x",
    "!!python/object/apply:os.system ['touch executed']",
    "!!python/name:os.system",
    "!x y",
    "&a",
    "*a",
    "<<: *a",
    "&a [*a]",
    "0x" + "f" * 6000,
    "9" * 5000,
    "1e999",
    "\t",
    "%YAML 9.9\n",
    "---\n",
    "...\n",
    "? ",
    ": ",
    "- ",
    "| ",
    "> ",
    "#",
    "'",
    '"',
    "\\",
    "\x07",
    "\ufeff",
    "\u2028",
    "2024-13-45",
    "=",
    "~",
    "NaN",
    "1_000",
    "12:30:45",
    "0o17",
]
"""Pieces for any place of a YAML text."""


def places(data, path=()):
    """Every path into plain data, the whole left out."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


def _at(data, path):
    for key in path:
        data = data[key]
    return data


def mutate(data, generator):
    """A copy with one change somewhere; the whole itself stays what it is."""
    data = copy.deepcopy(data)
    known = list(places(data))
    if not known:
        return data
    *parents, last = generator.choice(known)
    parent = _at(data, parents)
    value = parent[last]
    kind = generator.choice(["junk", "junk", "number", "text", "key", "drop", "swap", "wrap", "copy"])
    if kind == "number" and isinstance(value, int | float) and not isinstance(value, bool):
        parent[last] = generator.choice(
            [-value, value * 10**9, value * 10**15, value + 0.5, str(value), [value], value * 2]
        )
    elif kind == "text" and isinstance(value, str):
        spot = generator.randrange(len(value) + 1)
        parent[last] = (
            value[:spot] + generator.choice(["*", "?", "[0]", "\n", "\0", "/", "..", "é", " ", "😀"]) + value[spot:]
        )
    elif kind == "key" and isinstance(parent, dict):
        key = str(last)
        spot = generator.randrange(len(key) + 1)
        new = generator.choice(
            [key[:spot] + key[spot + 1 :], key + "s", key.upper(), "", "name", "a.b", "__proto__", key[::-1]]
        )
        parent[new] = parent.pop(last)
    elif kind == "drop":
        del parent[last]
    elif kind == "swap":
        *others, other = generator.choice(known)
        theirs = _at(data, others)
        mine, yours = copy.deepcopy(value), copy.deepcopy(theirs[other])
        theirs[other] = mine
        parent[last] = yours
    elif kind == "wrap":
        parent[last] = generator.choice([[value], {"name": value}, {"x": value}, [value, value], str(value)])
    elif kind == "copy" and isinstance(parent, dict):
        parent[generator.choice([str(each[-1]) for each in known])] = copy.deepcopy(value)
    else:
        parent[last] = copy.deepcopy(generator.choice(JUNK))
    return data


def mutate_text(text, generator):
    """The text with a piece cut out, doubled, or put in."""
    start = generator.randrange(len(text) + 1)
    end = min(len(text), start + generator.randrange(1, 20))
    kind = generator.choice(["insert", "insert", "cut", "double", "replace"])
    if kind == "cut":
        return text[:start] + text[end:]
    if kind == "double":
        return text[:end] + text[start:end] + text[end:]
    return text[:start] + generator.choice(TEXTS) + text[end if kind == "replace" else start :]


def mutate_bytes(content, generator):
    """The bytes with some changed, cut off or put in."""
    content = bytearray(content)
    kind = generator.choice(["flip", "flip", "cut", "insert", "encoding"])
    if kind == "cut":
        return bytes(content[: generator.randrange(len(content) + 1)])
    if kind == "insert":
        spot = generator.randrange(len(content) + 1)
        junk = bytes(generator.choices(range(256), k=generator.randrange(1, 9)))
        return bytes(content[:spot]) + generator.choice([junk, b"[" * 100_000, b"NaN", b'"', b"\0"]) + bytes(content[spot:])
    if kind == "encoding":
        text = content.decode("utf-8", errors="replace")
        return text.encode(generator.choice(["utf-16", "utf-8-sig", "utf-32"]))
    for _ in range(generator.randrange(1, 4)):
        if content:
            content[generator.randrange(len(content))] = generator.randrange(256)
    return bytes(content)


def mutate_recipe(text, data, generator):
    """A recipe's text after one to three changes of its data, its text, or both."""
    kind = generator.random()
    if kind < 0.75:
        for _ in range(generator.choice([1, 1, 1, 2, 3])):
            data = mutate(data, generator)
        with contextlib.suppress(Exception):  # some changes no YAML can say
            text = write_yaml(data)
    if kind > 0.7:
        for _ in range(generator.choice([1, 1, 2])):
            text = mutate_text(text, generator)
    return text


def mutate_json(content, generator):
    """A JSON file after one to three changes of its data, or of its bytes."""
    if generator.random() < 0.25:
        return mutate_bytes(content, generator)
    data = json.loads(content)
    for _ in range(generator.randrange(1, 4)):
        data = mutate(data, generator)
    return json.dumps(data).encode()


def mutate_header(content, generator):
    """A safetensors file with another header; its length is right in most cases, and the data stays."""
    (length,) = struct.unpack("<Q", content[:8])
    header, data = content[8 : 8 + length], content[8 + length :]
    if generator.random() < 0.15:
        return mutate_bytes(content[: 8 + length], generator) + data
    if generator.random() < 0.2:
        special = [b"[]", b"{}", b'{"a": 1}', b'{"a": null}', b'{"__metadata__": 1}', b"[" * 50_000, b"null", b"1", b'""']
        header = generator.choice(special)
    else:
        header = mutate_json(header, generator)
    if generator.random() < 0.1:
        length = generator.choice([0, 1, 2**31, 2**63, 2**64 - 1, len(header) + 1, len(header) + 10**6])
    else:
        length = len(header)
    return struct.pack("<Q", length) + header + data
