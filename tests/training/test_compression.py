"""The techniques of one run as one value."""

import dataclasses
import json

import pytest

from hf_compress import CompressionError, Distillation, ModelTeacher, Pruning, Quantization, Recipe
from hf_compress.training.compression import NOTHING, Compression
from tests.small import recipe
from tests.training.runs import distillation, everything, pruning, quantization


def test_only_what_is_on_is_iterated_in_the_order_of_the_fields():
    given = Compression(distillation=distillation(), pruning=pruning())
    assert list(given) == [("pruning", pruning()), ("distillation", distillation())]
    assert list(Compression(**everything())) == list(everything().items())


@pytest.mark.parametrize("name", everything())
def test_one_technique_is_something_and_none_is_nothing(name):
    given = Compression(**{name: everything()[name]})
    assert given
    assert given.edits_weights is (name != "distillation")
    assert not NOTHING
    assert not NOTHING.edits_weights


def test_it_is_picked_out_of_a_recipe_that_is_right_or_wrong_elsewhere(tmp_path):
    made = Recipe.from_plain(recipe(tmp_path))
    assert made.compression == Compression(
        pruning=made.pruning, quantization=made.quantization, distillation=made.distillation
    )
    assert Compression.among({"pruning": made.pruning, "task": "causal_lm"}) == Compression(pruning=made.pruning)


def test_every_field_can_be_refused_with_the_form_to_write():
    for field in dataclasses.fields(Compression):
        with pytest.raises(CompressionError, match=rf"0.25 .* given where a \w+ is expected; write {field.name}=\w+\("):
            Compression(**{field.name: 0.25})
    with pytest.raises(CompressionError, match=r"final=0\.25"):
        Compression(pruning=0.25)
    with pytest.raises(CompressionError, match='scheme="W4A16"'):
        Compression(quantization="W4A16")


def test_a_mapping_of_one_run_differs_from_another_in_words():
    given = Compression(**everything())
    written = json.loads(json.dumps(given.to_public()))
    assert given.difference(written) is None
    other = dataclasses.replace(given, quantization=quantization(begin="70%"))
    assert other.difference(written).startswith('with quantization={"scheme": {"name": "W4A16"')
    assert other.difference(written).count("begin") == 2
    assert dataclasses.replace(given, pruning=None).difference(written).endswith("and this run has pruning=null")


def test_what_may_be_published_names_a_teacher_and_not_where_it_lies(tmp_path):
    folder = tmp_path / "teachers" / "large"
    given = Compression(distillation=Distillation(teacher=ModelTeacher(model=str(folder))))
    assert given.to_public()["distillation"]["teacher"]["model"] == "./large"
    # The same run on another machine goes on.
    moved = Compression(distillation=Distillation(teacher=ModelTeacher(model="/elsewhere/large")))
    assert moved.difference(given.to_public()) is None


def test_strategies_are_found_inside_of_every_technique():
    names = [strategy.name for strategy in Compression(**everything()).strategies()]
    assert names == ["magnitude", "unstructured", "cubic", "uniform", "W4A16", "model", "forward_kl"]
    assert [strategy.kind for strategy in Compression(quantization=Quantization()).strategies()] == ["scheme"]
    assert NOTHING.strategies() == []


def test_a_compression_is_a_value():
    assert Compression(pruning=Pruning()) == Compression(pruning=Pruning())
    with pytest.raises(dataclasses.FrozenInstanceError):
        NOTHING.pruning = Pruning()
