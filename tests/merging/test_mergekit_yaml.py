"""What mergekit's planner makes of a configuration is what the import makes of it."""

import json
import textwrap
from pathlib import Path

import pytest
import yaml

from hf_compress._errors import CompressionError
from hf_compress.merging.configuration import BASE, Tokenizer
from hf_compress.merging.mergekit.methods import OUR_NAMES
from hf_compress.merging.mergekit_yaml import import_mergekit, is_mergekit
from hf_compress.merging.method import MergeMethod
from hf_compress.merging.parameters import resolve
from hf_compress.merging.stacking import stack_layers
from tests.merging.mergekit_cases import CASES

EXPECTED = json.loads((Path(__file__).parent / "mergekit_expected.json").read_text())
NAMES = [
    "model.embed_tokens.weight",
    *(
        f"model.layers.{layer}.{part}.weight"
        for layer in range(4)
        for part in ("input_layernorm", "self_attn.q_proj", "self_attn.o_proj", "mlp.down_proj")
    ),
    "model.norm.weight",
    "lm_head.weight",
]
IDLE = {"int8_mask", "rescale", "density"}


def read(text):
    return import_mergekit(textwrap.dedent(text), "merge.yml")


def refused(text):
    with pytest.raises(CompressionError) as caught:
        read(text)
    return str(caught.value)


def method_of(text):
    return yaml.safe_load(textwrap.dedent(text))["merge_method"]


def plan(merge):
    """Result tensor -> (label, tensor) of every input, and the parameters."""
    labels = [member.label for member in merge.members] + ([BASE] if merge.base else [])
    if merge.slices is None:
        return {name: [(label, name) for label in labels] for name in NAMES}, resolve(merge, NAMES), 4
    config = {"num_hidden_layers": 4}
    stack = stack_layers(merge, dict.fromkeys(labels, NAMES), dict.fromkeys(labels, config))
    return stack.places, resolve(merge, stack.places, stack.members()), stack.num_layers


def shared_value(method, parameter):
    """A shared parameter of our method under mergekit's name."""
    if parameter.startswith("nuslerp"):
        along = {"nuslerp_flatten": "tensor", "nuslerp_row_wise": "columns"}[parameter]
        return method.along == along
    return getattr(method, OUR_NAMES.get(parameter, parameter))


@pytest.mark.parametrize("case", CASES)
def test_every_tensor_gets_the_parameters_that_mergekit_gives_it(case):
    if method_of(CASES[case]) not in MergeMethod.available():
        pytest.skip("this method is not installed")
    merge = read(CASES[case]).merge
    assert merge.compat == "mergekit"
    places, parameters, num_layers = plan(merge)
    assert num_layers == EXPECTED[case]["layers"]
    seen = set()
    for group in EXPECTED[case]["groups"]:
        for name, sources in group["tensors"].items():
            seen.add(name)
            found = parameters[name]
            labels = [label for label, _ in places[name] if label != BASE]
            # The base is a member like others for some methods; the folder's name, "base", is a reserved label.
            assert [label.removeprefix("./") for label in labels] == [
                label for label in group["order"] if label != "base" or "./base" in labels
            ]
            if merge.slices is not None:
                expected = {label: name for label in group["order"]} if sources is None else sources
                assert {label.removeprefix("./"): tensor for label, tensor in places[name]} == expected
            for parameter, value in group["shared"].items():
                if parameter in ("int8_mask", "eps") or (parameter == "rescale" and merge.method.name == "task_arithmetic"):
                    continue
                # mergekit's own arithmetic: equal to the last bit
                assert shared_value(found.method, parameter) == value, (name, parameter)
            for label, own in group["models"].items():
                index = next((i for i, each in enumerate(labels) if each.removeprefix("./") == label), None)
                if index is None:
                    assert not own  # a base has no parameters
                    continue
                for parameter, value in own.items():
                    if parameter == "density" and merge.method.name == "task_arithmetic":
                        continue
                    assert found.values[parameter][index] == (1.0 if value is None else value), (name, label, parameter)
    assert seen == set(places)


def test_there_are_enough_cases():
    assert len(CASES) == len(EXPECTED) >= 25
    assert set(MergeMethod.available()) & {method_of(text) for text in CASES.values()}
