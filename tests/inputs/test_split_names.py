"""A split goes by its own name, by what the recipe says, and by nothing else."""

import pytest

from hf_compress._errors import CompressionError
from hf_compress.inputs.split_names import assign

CASES = {
    "first words": (["train_a", "train-b", "dev_small", "tests", "test.x"], {}, False),
    "whole names": (["train", "train_sft", "val", "dev"], {}, True),
    "what the recipe says wins": (["train", "validation", "heldout"], {"validation": "heldout"}, True),
    "a name has one use": (["train", "test"], {"validation": "test"}, True),
    "nothing": (["cats", "dogs"], {}, True),
}
EXPECTED = {
    "first words": {"train": ["train_a", "train-b"], "validation": ["dev_small"], "test": ["test.x"]},
    "whole names": {"train": ["train"], "validation": ["val"]},
    "what the recipe says wins": {"validation": ["heldout"], "train": ["train"]},
    "a name has one use": {"validation": ["test"], "train": ["train"]},
    "nothing": {},
}


@pytest.mark.parametrize("case", CASES)
def test_names_by_hand(case):
    names, wanted, whole = CASES[case]
    assert assign(names, wanted, "x", whole) == EXPECTED[case]


def test_a_name_that_is_not_there_is_refused_with_those_that_are():
    message = r"^data.splits: x has no split 'dev', which should be validation \(known: train, devel\)$"
    with pytest.raises(CompressionError, match=message):
        assign(["train", "devel"], {"validation": "dev"}, "x")
