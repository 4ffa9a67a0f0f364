"""Mutated recipes end in a sentence or are right: no traceback, nothing slow, nothing run."""

import random
import re
import sys
from pathlib import Path

import pytest

from hf_compress import Recipe
from hf_compress._problems import RecipeError
from hf_compress._yaml import write_yaml
from hf_compress.recipe.yaml_text import parse_yaml
from tests.fuzz.judge import Judge, no_progress_bars
from tests.fuzz.mutations import mutate_recipe
from tests.merging.adapters import make_adapter
from tests.small import VIT_RECIPE, pretrained, recipe, text_rows, write_images, write_jsonl, write_model
from tests.tiny import tiny_bert, tiny_llama

ROOT = Path(__file__).parents[2]


def starts(folder):
    """Recipes of every job on small local inputs, the shipped ones, and those of the pages."""
    write_jsonl(folder / "train.jsonl", text_rows())
    write_images(folder / "images.parquet")
    first, second = write_model(folder / "first"), write_model(folder / "second", tiny_llama(1))
    write_model(folder / "bert", tiny_bert(num_labels=2))
    make_adapter(tiny_llama(), folder / "adapter", target_modules=["q_proj", "v_proj"])
    yield recipe(folder)
    yield recipe(folder, pretrained(first))
    labelled = {"task.name": "sequence_classification", "task.label": "label", "dense": {}}
    yield recipe(folder, pretrained(folder / "bert", labelled))
    yield recipe(folder, {**VIT_RECIPE, "data.path": str(folder / "images.parquet")})
    member = [
        {"model": str(first), "weight": 0.4},
        {"model": str(second), "weight": 0.6, "adapter": str(folder / "adapter")},
    ]
    merge = {
        "job": "merge",
        "method": {"name": "ties"},
        "base": str(first),
        "members": member,
        "output_dir": str(folder / "m"),
    }
    yield merge
    yield {**merge, "rules": [{"match": "re:.*mlp.*", "set": {"weight": [0.1, 0.9]}}], "heads": {"policy": "refuse"}}
    yield {"job": "extract-adapter", "base": str(first), "tuned": str(second), "output_dir": str(folder / "e"), "rank": 4}
    adapters = [str(folder / "adapter")] * 2
    yield {"job": "merge-adapters", "adapters": adapters, "output_dir": str(folder / "a")}
    data = {"path": str(folder / "train.jsonl")}
    yield {
        "job": "collect-statistics",
        "model": str(first),
        "task": {"name": "causal_lm", "length": 16},
        "data": data,
        "output_dir": str(folder / "s"),
    }
    for file in sorted((ROOT / "recipes").glob("*.yaml")):
        yield parse_yaml(file.read_text(encoding="utf-8"), str(file))
    for page in sorted((ROOT / "docs").rglob("*.md")):
        for block in re.findall(r"^```yaml\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.S | re.M):
            for document in re.split(r"^---\n", block, flags=re.M):
                yield parse_yaml(document, str(page))


def check(file):
    """What `hf-compress check` does."""
    problems = Recipe.load(file, sources=True).preflight()
    if problems:
        raise RecipeError(problems)


def read(file):
    """The part of it that opens nothing."""
    Recipe.load(file)


def fuzz(folder, number, seed, act=check):
    """So many mutated recipes, judged."""
    known = [data for data in starts(folder) if isinstance(data, dict)]
    judge, file = Judge(), folder / "recipe.yaml"
    with no_progress_bars():
        for case in range(number):
            generator = random.Random(f"{seed}-{case}")
            data = known[generator.randrange(len(known) if generator.random() < 0.4 else 9)]
            # The first one stays as it is, so that a right recipe is among however few.
            text = mutate_recipe(write_yaml(data), data, generator) if case else write_yaml(known[0])
            file.write_text(text, encoding="utf-8", errors="surrogatepass")
            judge(case, lambda: act(file))
    return judge


@pytest.mark.parametrize(("act", "number"), [(read, 300), (check, 25)])
def test_some_mutated_recipes_are_right_or_a_sentence(act, number, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    judge = fuzz(tmp_path, number, 1, act)
    assert judge.wrong == []
    assert min(judge.counts["accepted"], judge.counts["refused"]) > 0
    assert not list(tmp_path.rglob("executed"))


@pytest.mark.slow
def test_ten_thousand_mutated_recipes_are_right_or_a_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    judge = fuzz(tmp_path, 10_000, seed=2)
    with capsys.disabled():
        sys.stdout.write(f"\nrecipes {judge.summary()}\n")
    assert judge.wrong == []
    assert not list(tmp_path.rglob("executed"))
