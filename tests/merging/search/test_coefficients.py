import pytest
import torch

from hf_compress._errors import CompressionError
from hf_compress._patterns import matcher
from hf_compress.merging.configuration import Member, Rule
from hf_compress.merging.methods.linear import Linear
from hf_compress.merging.search.coefficients import Coefficients, group_of, groups_of
from tests.tiny import tiny_bart, tiny_bert


def test_a_layer_is_everything_that_shares_a_name_up_to_its_first_number():
    assert group_of("bert.encoder.layer.1.output.dense.weight", "layer") == r"re:bert\.encoder\.layer\.1\."
    assert group_of("model.layers.10.mlp.experts.3.up_proj.weight", "layer") == r"re:model\.layers\.10\."
    assert group_of("classifier.weight", "layer") is None
    assert group_of("0.weight", "layer") == r"re:0\."
    assert group_of("classifier.weight", "tensor") == "classifier.weight"
    assert group_of("classifier.weight", "model") is None


def test_groups_are_the_rules_that_match_their_tensors_and_no_others():
    names = list(tiny_bart().state_dict())
    groups = groups_of(names, "layer")
    assert len(groups) == 1 + 2 + 2
    find = matcher([group for group in groups if group is not None], "rules")
    for name in names:
        assert find(name) == group_of(name, "layer")


def test_weights_of_a_tensor_are_those_of_its_group_else_the_members_own():
    groups = {r"re:layer\.1\.": (0.25, 0.75), "head.weight": (1.0, 0.0)}
    coefficients = Coefficients(members=("a", "b"), weights=(0.5, 0.5), groups=groups)
    assert coefficients.of("layer.1.weight") == (0.25, 0.75)
    assert coefficients.of("layer.10.weight") == (0.5, 0.5)
    assert coefficients.of("head.weight") == (1.0, 0.0)


def test_they_are_written_as_members_and_rules_without_those_that_weigh_nothing():
    found = Coefficients(members=("a", "b", "c"), weights=(1.0, 0.0, 0.0), groups={"w": (0.5, 0.5, 0.0)})
    merge = found.as_merge(Linear(), {"a": "org/a"}, base="org/base")
    assert merge.base == "org/base"
    assert merge.members == (Member("org/a", name="a", weight=1.0), Member("b", name="b", weight=0.0))
    assert merge.rules == (
        Rule(match="w", member="a", set={"weight": 0.5}),
        Rule(match="w", member="b", set={"weight": 0.5}),
    )


def test_a_tensor_granularity_has_a_group_for_every_tensor():
    names = list(dict(tiny_bert().named_parameters()))
    assert groups_of(names, "tensor") == names
    assert groups_of(names, "model") == [None]
    assert torch.tensor(len(groups_of(names, "layer"))) == 3
    with pytest.raises(CompressionError, match="unknown granularity 'layers'; did you mean 'layer'"):
        groups_of(names, "layers")
