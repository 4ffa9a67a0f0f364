"""Change a published folder in one place, many times, and see whether `hf-compress verify` finds it.

A small model is trained, compressed and written as a recipe's run leaves it. Unchanged, it is measured again with one and
with two threads: every claim must hold. Then copies of it are changed, each in one place: a bit of the weights; a row of
the measured data (a letter, a label, a row that goes, comes or moves); a digit that card, reports or manifest print; a key
or a value of config.json. Every change must be found. A model is run again only where nothing else has told.

    python scripts/verify_mutations.py [--mutations 1000] [--seed 0] [--out FILE]
"""

import argparse
import collections
import json
import random
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from hf_compress import CompressionError, Recipe
from hf_compress._provenance import describe_machine, today
from hf_compress.jobs.verify.run import verify

WORDS = ["the", "cat", "dog", "sat", "on", "mat", "and", "ran", "far", "away", "from", "home", "to", "see", "one", "big"]
PRINTED = ("README.md", "compression.json", "report.json", "report.md", "report.html")


def write_rows(folder: Path) -> Path:
    """Texts with a label, in two splits."""
    generator = random.Random(0)
    folder.mkdir()
    for name, count in (("train", 60), ("test", 12)):
        rows = [{"text": " ".join(generator.choices(WORDS, k=20)), "label": n % 2} for n in range(count)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def publish(place: Path, data: Path) -> Path:
    """A folder as a run leaves it."""
    llama = {"model_type": "llama", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    llama |= {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64}
    recipe = {
        "job": "train",
        "model": {"config": llama},
        "tokenizer": {"vocab_size": 300},
        "task": {"name": "sequence_classification", "length": 32},
        "data": {"path": str(data)},
        "dense": {"training": {"max_steps": 20, "learning_rate": 1e-2}},
        "pruning": {"schedule": {"name": "cubic", "final": 0.5, "begin": "0%", "end": "50%", "every": 1}},
        "quantization": {"scheme": {"name": "W4A16", "group_size": 32}, "begin": "50%", "ignore": ["score"]},
        "training": {"output_dir": str(place), "max_steps": 10, "per_device_train_batch_size": 4, "use_cpu": True},
    }
    return Recipe.from_plain(recipe).run().folder  # type: ignore[no-any-return, attr-defined]


def flip_weight(folder: Path, data: Path, generator: random.Random) -> str:
    """One bit of the weights' file."""
    file = folder / "model.safetensors"
    content = bytearray(file.read_bytes())
    place, bit = generator.randrange(len(content)), generator.randrange(8)
    content[place] ^= 1 << bit
    file.write_bytes(content)
    return f"bit {bit} of byte {place}"


def change_row(folder: Path, data: Path, generator: random.Random) -> str:
    """One row of the measured split."""
    file = data / "test.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    place = generator.randrange(len(rows))
    how = generator.choice(("letter", "label", "gone", "twice", "moved"))
    if how == "letter":
        text, at = rows[place]["text"], generator.randrange(len(rows[place]["text"]))
        rows[place]["text"] = text[:at] + ("x" if text[at] != "x" else "y") + text[at + 1 :]
    elif how == "label":
        rows[place]["label"] = 1 - rows[place]["label"]
    elif how == "gone":
        del rows[place]
    elif how == "twice":
        rows.insert(place, rows[place])
    else:
        rows.insert((place + 1) % len(rows), rows.pop(place))
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"row {place}: {how}"


def change_digit(folder: Path, data: Path, generator: random.Random) -> str:
    """One digit of what people or programs read."""
    file = folder / generator.choice(PRINTED)
    text = file.read_text()
    place = generator.choice([found.start() for found in re.finditer(r"\d", text)])
    digit = generator.choice([one for one in "0123456789" if one != text[place]])
    file.write_text(text[:place] + digit + text[place + 1 :])
    return f"{file.name}, {text[max(0, place - 20) : place]!r} {text[place]} -> {digit}"


def change_config(folder: Path, data: Path, generator: random.Random) -> str:
    """One key of config.json goes, or has another name or value."""
    file = folder / "config.json"
    config: dict[str, Any] = json.loads(file.read_text())
    key = generator.choice(sorted(config))
    how = generator.choice(("gone", "renamed", "another value"))
    value = config.pop(key)
    if how == "renamed":
        config[f"{key}_"] = value
    elif how == "another value":
        config[key] = value + 1 if isinstance(value, int | float) and not isinstance(value, bool) else f"not {value}"
    file.write_text(json.dumps(config, indent=2) + "\n")
    return f"{key}: {how}"


MUTATIONS: dict[str, Callable[[Path, Path, random.Random], str]] = {
    "a bit of the weights": flip_weight,
    "a row of the data": change_row,
    "a printed digit": change_digit,
    "a key of the config": change_config,
}


def found(folder: Path, data: Path) -> bool:
    """Whether verify says that something is otherwise, or refuses the folder."""
    try:
        return not verify(str(folder), str(data), measure=False).holds
    except CompressionError:
        return True


def run(num_mutations: int, seed: int) -> tuple[list[str], bool]:
    """The record's lines, and whether everything was found and nothing else."""
    generator, began = random.Random(seed), time.monotonic()
    lines, missed, counts = [], [], collections.Counter[str]()
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        data = write_rows(root / "rows")
        folder = publish(root / "run", data)
        quiet = True
        for threads in (1, 2):
            torch.set_num_threads(threads)
            result = verify(str(folder), str(data))
            quiet &= result.holds and all(check.holds for check in result.checks if check.what in ("accuracy", "nll"))
            lines.append(
                f"unchanged, {threads} thread{'s' * (threads > 1)}: {result.summary().splitlines()[-1].split(': ')[-1]}"
            )
        for number in range(num_mutations):
            kind = list(MUTATIONS)[number % len(MUTATIONS)]
            copy, rows = root / "copy", root / "copied-rows"
            shutil.copytree(folder, copy)
            shutil.copytree(data, rows)
            what = MUTATIONS[kind](copy, rows, generator)
            counts[kind] += 1
            if not found(copy, rows):
                missed.append(f"not found: {kind}: {what}")
            shutil.rmtree(copy)
            shutil.rmtree(rows)
    lines += [
        f"{kind}: {count} changed, {count - sum(f': {kind}:' in one for one in missed)} found"
        for kind, count in counts.items()
    ]
    lines += [*missed, f"{time.monotonic() - began:.0f} s"]
    return lines, quiet and not missed


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutations", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="also write the record here")
    given = parser.parse_args()
    lines, good = run(given.mutations, given.seed)
    machine = describe_machine(torch.device("cpu"))
    head = ["A published folder, changed in one place, and hf-compress verify", ""]
    head += [f"{key:<10}{value}" for key, value in machine.items()]
    head += [f"{'command':<10}python scripts/verify_mutations.py --mutations {given.mutations} --seed {given.seed}", ""]
    text = "\n".join([*head, *lines, f"{today()} {'all found, no false alarm' if good else 'FAILED'}"]) + "\n"
    print(text)
    if given.out is not None:
        given.out.write_text(text, encoding="utf-8")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
