from types import SimpleNamespace

import pytest
import torch

from hf_compress import CompressionError
from hf_compress.distillation.answers import Answers, logits_of
from tests.tiny import tiny_bert, tiny_gpt2, tiny_llama, tiny_t5, tiny_vit


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


@pytest.mark.parametrize("make", [tiny_llama, tiny_gpt2, tiny_bert, tiny_vit])
@pytest.mark.parametrize("needs", [("logits",), ("hidden_states",), ("attentions",), ("logits", "hidden_states")])
def test_a_forward_gives_what_is_asked_for_and_nothing_else(make, needs):
    model = make().eval()
    answers = Answers(model, needs)
    batch = {"pixel_values": torch.randn(2, 3, 8, 8)} if make is tiny_vit else {"input_ids": torch.arange(3, 15).view(2, 6)}
    with answers.settings():
        outputs = model(**batch)
    assert (outputs.get("hidden_states") is None) == ("hidden_states" not in needs)
    assert (outputs.get("attentions") is None) == ("attentions" not in needs)
    signal = answers.signal(outputs)
    assert signal.has == needs
    assert [one.shape[-1] for one in signal.hidden_states] == [32] * 3 * ("hidden_states" in needs)
    for maps in signal.attentions:
        torch.testing.assert_close(maps.sum(-1), torch.ones(maps.shape[:-1]))
    assert not model.config.output_hidden_states and not model.config.output_attentions


def test_two_stacks_of_layers_and_layers_of_another_shape_are_refused():
    with pytest.raises(
        CompressionError, match="losses on hidden states compare models with one stack of layers, and the stu"
    ):
        Answers(tiny_t5(), ("logits", "hidden_states"))
    Answers(tiny_t5(), ("logits",))
    outputs = SimpleNamespace(hidden_states=(torch.zeros(1, 3, 4, 4),))
    with pytest.raises(CompressionError, match=r"without hidden states of shape \(B, T, D\), which a loss"):
        Answers(tiny_llama(), ("hidden_states",)).signal(outputs)


def test_an_attention_that_builds_no_maps_is_refused(monkeypatch):
    model = tiny_llama()
    monkeypatch.setattr(model, "set_attn_implementation", lambda name: None)
    with pytest.raises(CompressionError, match="cannot return attentions .*Please set it to 'eager'"):
        Answers(model, ("attentions",))
