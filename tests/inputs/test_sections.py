"""Sections refuse what no run can use."""

import pytest

from hf_compress._errors import CompressionError
from hf_compress.evaluation.configuration import Evaluation
from hf_compress.inputs.sections import Data, FreshModel, FreshTokenizer
from hf_compress.jobs.train.settings import Dense


def test_defaults_are_those_of_the_documentation():
    data = Data(path="here")
    assert (data.name, data.max_train, data.max_eval, data.validation_share) == (None, None, None, 0.05)
    assert FreshTokenizer().vocab_size == 4096 and Evaluation() == Evaluation(batch_size=16, untrained=True)


REFUSED = {
    "path is empty": lambda: Data(path=""),
    "max_eval=0 must be 1 or more": lambda: Data(path="here", max_eval=0),
    "validation_share=0.5 must lie between": lambda: Data(path="here", validation_share=0.5),
    "config needs a model_type, e.g. llama": lambda: FreshModel(config={"hidden_size": 3}),
    "vocab_size=299 leaves no room": lambda: FreshTokenizer(vocab_size=299),
    "training.output_dir cannot be set here": lambda: Dense(training={"output_dir": "x"}),
    "batch_size=-1 must be 1 or more": lambda: Evaluation(batch_size=-1),
}


@pytest.mark.parametrize("message", REFUSED)
def test_a_value_that_cannot_work_is_refused(message):
    with pytest.raises(CompressionError, match=message):
        REFUSED[message]()
