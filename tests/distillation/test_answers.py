import pytest
import torch

from hf_compress import CompressionError
from hf_compress.distillation.answers import Answers, logits_of
from tests.tiny import tiny_llama


def test_inside_no_cache_is_built_and_outputs_are_named_and_the_configs_stay_as_they_were():
    model = tiny_llama(seed=0)
    model.config.return_dict = False
    answers = Answers(model)
    with answers.settings():
        outputs = model(input_ids=torch.arange(3, 9).view(1, 6))
    assert outputs.past_key_values is None and logits_of(outputs, "it").shape == (1, 6, 64)
    assert model.config.use_cache is True and model.config.return_dict is False
    with pytest.raises(RuntimeError), answers.settings():
        raise RuntimeError
    assert model.config.use_cache is True


def test_an_output_without_logits_is_refused():
    with pytest.raises(CompressionError, match="the teacher returns tuple without logits"):
        logits_of((torch.zeros(1),), "the teacher")
