"""Which share of a model a setting reaches."""

import pytest
import torch
from torch import nn
from transformers import MixtralConfig, MixtralForCausalLM, Wav2Vec2Config, Wav2Vec2ForSequenceClassification

from hf_compress import W4A16, Quantization
from hf_compress._modules.coverage import Coverage, coverage
from hf_compress._modules.matching import DEFAULT_IGNORE, DEFAULT_TARGETS, match_modules
from hf_compress.quantization.qat import convert, prepare
from tests.tiny import tiny_gpt2, tiny_llama


def reached(model):
    return coverage(model, match_modules(model, DEFAULT_TARGETS, DEFAULT_IGNORE, "pruning"))


def test_by_hand_matrices_count_and_biases_do_not():
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 6), nn.Linear(6, 2), nn.Conv1d(2, 3, 3))
    found = coverage(model, {"1": model[1]})
    assert found == Coverage(
        matched=24, total=20 + 24 + 12 + 18, modules={"Linear": (1, 2)}, left={"Embedding": 20, "Conv1d": 18, "Linear": 12}
    )
    assert found.sentence("pruned") == (
        "pruned 1 of 2 Linear, 32.4 % of the weights; left: Embedding 27.0 %, Conv1d 24.3 %, Linear 16.2 %"
    )
    assert found.to_plain() == {"matched": 24, "total": 74, "share": 24 / 74, "left": dict(found.left), "left_out": {}}


def test_packed_experts_are_named_and_counted():
    config = MixtralConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_local_experts=4,
    )
    found = reached(MixtralForCausalLM(config))
    # By hand, for each of two layers: attention 2 * 32 * 32 + 2 * 16 * 32, experts 4 * 3 * 32 * 64, router 4 * 32.
    assert found.matched == 2 * 3072
    assert found.left["MixtralExperts"] == 2 * 24576 and found.left["MixtralTopKRouter"] == 2 * 128
    assert found.total == 2 * (3072 + 24576 + 128) + 2 * 64 * 32
    assert found.sentence("quantized").startswith(
        "quantized 8 of 9 Linear, 10.3 % of the weights; left: MixtralExperts 82.4 %, Embedding 3.4 %, Linear 3.4 %,"
    )


def test_a_tied_weight_counts_once():
    tied, untied = reached(tiny_llama(tie_word_embeddings=True)), reached(tiny_llama())
    assert tied.matched == untied.matched and untied.total - tied.total == 64 * 32
    assert "Linear" not in tied.left


def test_a_parametrized_weight_belongs_to_its_module():
    config = Wav2Vec2Config(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        conv_dim=(16, 16),
        conv_kernel=(10, 3),
        conv_stride=(5, 2),
        num_feat_extract_layers=2,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
    )
    model = Wav2Vec2ForSequenceClassification(config)
    found = reached(model)
    assert not [name for name in found.left if "Parametri" in name]
    convolutions = [parameter for name, parameter in model.named_parameters() if "conv" in name and parameter.dim() >= 2]
    assert found.left["Conv1d"] == sum(parameter.numel() for parameter in convolutions)


@pytest.mark.parametrize("stage", ["dense", "prepared", "converted"])
def test_preparing_and_converting_change_no_number(stage):
    model = tiny_llama()
    dense = reached(model)
    if stage != "dense":
        prepare(model, Quantization(scheme=W4A16(group_size=16)))
    if stage == "converted":
        convert(model)
    assert reached(model) == dense
    assert dense.modules == {"Linear": (14, 15)}


def test_the_sentence_never_says_nothing_for_something_nor_all_for_a_part():
    model = nn.Sequential(nn.Linear(1000, 100), nn.Embedding(2, 3))
    assert coverage(model, {"0": model[0]}).sentence("pruned") == (
        "pruned 1 of 1 Linear, 99.9 % of the weights; left: Embedding <0.1 %"
    )
    assert coverage(model, {}).sentence("pruned").startswith("pruned nothing, 0.0 % of the weights; left: Linear 99.9 %")
    assert coverage(nn.Sequential(nn.LayerNorm(4)), {}).share == 0.0


def test_many_kinds_are_summed_up():
    model = nn.Sequential(
        *(kind(2, 2, 1) for kind in (nn.Conv1d, nn.Conv2d, nn.Conv3d)), nn.Embedding(2, 2), nn.Bilinear(2, 2, 2)
    )
    assert coverage(model, {}).sentence("pruned").endswith("Conv3d 16.7 %, 1 more kinds 16.7 %")
    assert coverage(model, {}).total == 24


def test_the_model_is_only_looked_at():
    model = tiny_gpt2()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    coverage(model, {})
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_modules_left_out_by_name_are_in_the_sentence_with_the_reason():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    found = coverage(model, {"0": model[0]}, {"1": "it is tied", "2": "it is tied"})
    assert found.sentence("pruned") == (
        "pruned 1 of 3 Linear, 33.3 % of the weights; left: Linear 66.7 %; left out: 1 and 1 more (it is tied)"
    )
    assert found.to_plain()["left_out"] == {"1": "it is tied", "2": "it is tied"}
