"""Models without memory, made ready to be sharded."""

import torch

from hf_compress._sharding.from_first import lacks_weights, make_room, take_out
from tests.tiny import tiny_llama


def test_parameters_get_addresses_of_their_own_and_what_is_tied_stays_tied():
    with torch.device("meta"):
        model = tiny_llama(tie_word_embeddings=True)
    model.model.rotary_emb.inv_freq = torch.tensor([1.0, 0.5])
    model.model.norm.weight.requires_grad_(False)
    assert lacks_weights(model)
    make_room(model)
    parameters = list(model.parameters())
    assert not lacks_weights(model) and model.lm_head.weight is model.model.embed_tokens.weight
    assert (
        len({parameter.data_ptr() for parameter in parameters})
        == len(parameters)
        == len(list(tiny_llama().parameters())) - 1
    )
    assert [parameter.requires_grad for parameter in parameters].count(False) == 1
    assert model.model.rotary_emb.inv_freq.tolist() == [1.0, 0.5]


def test_what_is_taken_out_of_a_model_is_all_that_it_was():
    model = tiny_llama(seed=0, tie_word_embeddings=True)
    own = dict(model.named_parameters())
    given = take_out(model)
    assert given.keys() == own.keys() and all(given[name] is own[name] for name in own)
    assert all(parameter.is_meta for parameter in model.parameters())
    assert model.lm_head.weight is model.model.embed_tokens.weight
