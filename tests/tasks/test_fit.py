"""Whether a model can do a task, asked without data."""

import pytest

from hf_compress import CompressionError
from hf_compress.tasks.fit import check_length
from hf_compress.tasks.task import TASKS


def test_a_block_of_one_token_predicts_nothing_and_one_word_can_be_classified():
    with pytest.raises(
        CompressionError, match="data.length: 1 is too short: the first token of a block predicts the second"
    ):
        check_length(TASKS["causal_lm"], 1, None)
    check_length(TASKS["causal_lm"], 2, None)
    check_length(TASKS["sequence_classification"], 1, None)


def test_texts_fit_into_the_positions():
    with pytest.raises(CompressionError, match="data.length: 65 tokens are more than the model's 64 positions"):
        check_length(TASKS["causal_lm"], 65, 64)
    check_length(TASKS["causal_lm"], 64, 64)
