"""Loading, canonical text, fingerprint."""

import pytest

from hf_compress import CompressionError, Recipe
from hf_compress._yaml import write_yaml
from hf_compress.jobs.train.recipe import Train
from hf_compress.recipe.yaml_text import parse_yaml
from tests.small import DROP, LLAMA, pretrained, recipe

VARIANTS = {
    "fresh": {},
    "pretrained": {**pretrained("some/model"), "title": "1e5", "export": {"dtype": "float16"}},
    "bare names": {
        "pruning.schedule": "cubic",
        "quantization.scheme": "W8A8",
        "distillation": {"losses": [{"weight": 0.25}]},
    },
    "sections of defaults": {"dense": {}, "pruning": {}, "quantization": {}, "distillation": {}, "evaluation": {}},
    "teacher": {"distillation.teacher": {"name": "model", "model": "some/teacher", "dtype": "bfloat16"}},
    "words that look like numbers": {"task.text": "010", "data.name": "no", "training.run_name": "1e-5"},
    "one job": {"pruning": DROP, "distillation": DROP},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_canonical_and_full_data_give_the_same_recipe_back(variant, tmp_path):
    loaded = Recipe.from_plain(recipe(tmp_path, VARIANTS[variant]))
    assert isinstance(loaded, Train)
    assert Recipe.from_plain(parse_yaml(loaded.to_yaml(), "canonical")) == loaded
    assert Recipe.from_plain(loaded.to_plain(full=True)) == loaded
    assert Recipe.from_plain(parse_yaml(write_yaml(loaded.to_plain(full=True)), "full")) == loaded


def test_canonical_text_leaves_defaults_out_and_keeps_given_sections(tmp_path):
    defaults = {"pruning": {"criterion": "magnitude"}, "quantization": {"scheme": "W4A16"}, "dense": {"training": {}}}
    spelled_out = {"title": None, "evaluation": {"batch_size": 16}, "export": {}}
    plain = recipe(tmp_path, {**defaults, **spelled_out})
    canonical = Recipe.from_plain(plain).to_plain()
    assert canonical["pruning"] == canonical["quantization"] == canonical["dense"] == {}
    assert next(iter(canonical)) == "job" and not {"title", "evaluation", "export"} & set(canonical)


def test_fingerprint_follows_the_meaning_and_not_the_spelling(tmp_path):
    first = Recipe.from_plain(recipe(tmp_path, {"pruning.schedule": "cubic"}))
    same = Recipe.from_plain(
        recipe(tmp_path, {"pruning": {"schedule": {"name": "cubic", "final": 0.5}, "ignore": list(first.pruning.ignore)}})
    )
    other = Recipe.from_plain(recipe(tmp_path, {"pruning.schedule": {"name": "cubic", "final": 0.25}}))
    assert first.fingerprint() == same.fingerprint() != other.fingerprint()
    assert len(first.fingerprint()) == 12


def test_fingerprint_is_the_same_in_every_version():
    fixed = {
        "job": "train",
        "model": {"config": dict(LLAMA)},
        "tokenizer": {"vocab_size": 300},
        "task": "causal_lm",
        "data": {"path": "data.jsonl"},
        "dense": {},
        "pruning": {},
        "training": {"output_dir": "out"},
    }
    # A change of this hash makes every interrupted run look like another one.
    assert Recipe.from_plain(fixed).fingerprint() == "3b2d24545e96"


def test_load_applies_overrides(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text(write_yaml(recipe(tmp_path)))
    assert Recipe.load(file, ["pruning.schedule.final=0.7"]).pruning.schedule.final == 0.7
    with pytest.raises(CompressionError, match="did you mean 'final'"):
        Recipe.load(file, ["pruning.schedule.finall=0.7"])
