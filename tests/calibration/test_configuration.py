import pytest

from hf_compress._errors import CompressionError
from hf_compress._registry import dump
from hf_compress.calibration.configuration import Calibration
from hf_compress.recipe.build import build


def test_it_is_a_value_that_a_recipe_can_write_and_read():
    made = Calibration(num_examples=6, seed=3)
    assert dump(made) == {"num_examples": 6, "seed": 3}
    problems = []
    assert build(Calibration, dump(made, full=True), "calibration", problems) == made and not problems


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"num_examples": 0}, "num_examples=0 must be 1 or more"),
        ({"batch_size": -1}, "batch_size=-1 must be 1 or more"),
        ({"seed": -1}, "seed=-1 must lie between 0 and"),
        ({"num_examples": "many"}, "Calibration\\(num_examples=...\\): 'many' \\(text\\) given"),
    ],
)
def test_values_that_mean_no_data_are_refused(changes, sentence):
    with pytest.raises(CompressionError, match=sentence):
        Calibration(**changes)
