"""Whether adapters can be added up, by their headers."""

import dataclasses
import inspect

import pytest

from hf_compress._problems import RecipeError
from hf_compress.merging.lora.adapter import Adapter
from hf_compress.merging.lora.agreement import common_base, fit_together
from hf_compress.merging.lora.combine import AdapterMerge, merge_adapters
from hf_compress.merging.lora.extract import AdapterExtraction, extract_lora
from tests.merging.lora.test_source import pair, write


def adapters(tmp_path):
    shapes = {"a": (8, 8), "b": (9, 8)}
    return [
        Adapter(
            write(
                tmp_path / name,
                {f"x.{key}": tensor for key, tensor in pair(*shape).items()},
                base_model_name_or_path=f"org/{name}",
            )
        )
        for name, shape in shapes.items()
    ]


def test_everything_that_does_not_fit_is_said_at_once(tmp_path):
    found = adapters(tmp_path)
    fit_together(found[:1], rank=4)
    with pytest.raises(RecipeError) as refusal:
        fit_together(found)
    base, shape = map(str, refusal.value.problems)
    assert "was trained on 'org/a' and" in base and "x is matrix" in shape


def test_a_base_that_is_given_is_that_of_all(tmp_path):
    assert common_base(adapters(tmp_path), "org/c") == "org/c"


@pytest.mark.parametrize(("function", "value"), [(extract_lora, AdapterExtraction), (merge_adapters, AdapterMerge)])
def test_a_function_takes_what_its_value_has_with_the_same_defaults(function, value):
    taken = inspect.signature(function).parameters
    fields = {field.name: field.default for field in dataclasses.fields(value)}
    assert set(taken) - {"out"} == set(fields)
    for name, default in fields.items():
        assert taken[name].default is inspect.Parameter.empty or taken[name].default == default
