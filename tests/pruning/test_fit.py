"""Everything a pruning job can fail on is known before anything is pruned."""

import pytest
import torch
from torch import nn
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

from hf_compress import CompressionTrainer
from hf_compress._errors import CompressionError
from hf_compress.pruning.allocations.global_ import Global
from hf_compress.pruning.compute import measure_sparsity
from hf_compress.pruning.configuration import Pruning
from hf_compress.pruning.masks import Masks
from hf_compress.pruning.patterns.n_m import NM
from hf_compress.pruning.prune import prune
from hf_compress.pruning.schedules.constant import Constant
from tests.pruning.needy import Needy
from tests.tiny import tiny_llama
from tests.training.runs import arguments, text_rows


def half(**changes):
    return Pruning(schedule=Constant(final=0.5), **changes)


def test_a_criterion_that_needs_statistics_is_refused_in_the_constructor(tmp_path):
    job = half(criterion=Needy())
    sentence = "criterion 'needy' needs input_norm, measured on examples; pass calibration=.*use criterion 'magnitude'"
    with pytest.raises(CompressionError, match=sentence):
        CompressionTrainer(model=tiny_llama(), args=arguments(tmp_path), train_dataset=text_rows(), pruning=job)


def test_statistics_that_are_missing_for_one_layer_are_refused_before_anything_changes():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    before = [module.weight.clone() for module in model]
    for found, sentence in (
        ({"0.weight": torch.ones(4)}, "needs input_norm of 1, and no example of the calibration reaches that layer"),
        ({"0.weight": torch.ones(4), "1.weight": torch.ones(3)}, r"input_norm of 1 has the shape \(3,\) and not \(4,\)"),
    ):
        with pytest.raises(CompressionError, match=sentence):
            prune(model, half(criterion=Needy()), {"input_norm": found})
    assert all(torch.equal(module.weight, weight) for module, weight in zip(model, before, strict=True))


@pytest.mark.parametrize(
    ("layer", "inputs"),
    [
        (nn.Linear(62, 8), 62),
        (nn.Conv2d(3, 8, 4), 3),  # 3 * 4 * 4 would divide
        (nn.Conv2d(8, 8, 2, groups=8), 1),
        (nn.Conv1d(12, 8, 4, groups=2), 6),
    ],
    ids=["Linear", "Conv2d", "depthwise", "grouped"],
)
def test_a_pattern_that_does_not_fit_is_refused_by_layer_and_inputs(layer, inputs):
    model = nn.Sequential(nn.Linear(8, 8), layer)
    job = half(pattern=NM(), targets=["Linear", type(layer).__name__])
    for attempt in (Masks, prune):
        with pytest.raises(CompressionError, match=rf"pruning\.pattern: 1: m=4 does not divide the {inputs} inputs"):
            attempt(model, job)


def test_the_trainers_constructor_refuses_a_pattern_that_does_not_fit(tmp_path):
    model = tiny_llama(intermediate_size=62)
    with pytest.raises(CompressionError, match=r"mlp\.down_proj: m=4 does not divide the 62 inputs"):
        CompressionTrainer(model=model, args=arguments(tmp_path), train_dataset=text_rows(), pruning=half(pattern=NM()))


@pytest.mark.parametrize("changes", [{}, {"allocation": Global()}])
def test_layers_so_small_that_nothing_would_be_pruned_are_refused(changes):
    job = Pruning(schedule=Constant(final=0.1), **changes)
    with pytest.raises(CompressionError, match="0.1 rounds to no weight at all in layers of at most 4 weights"):
        Masks(nn.Sequential(nn.Linear(2, 2)), job)


def test_the_fewest_zeros_are_the_sum_of_rounded_layers():
    masks = Masks(nn.Sequential(nn.Linear(2, 2), nn.Linear(3, 3)), Pruning(schedule=Constant(final=0.55)))
    assert masks.fewest_zeros(0.55) == 2 + 5  # round(2.2) + round(4.95)
    masks.update(0.55)
    assert masks.num_pruned() == 7


def test_the_weight_normed_convolution_of_wav2vec2_is_left_out_and_the_rest_has_the_sparsity():
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4, "vocab_size": 16}
    convolutions = {"conv_dim": (16, 16), "conv_kernel": (10, 3), "conv_stride": (5, 2), "num_feat_extract_layers": 2}
    positions = {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
    model = Wav2Vec2ForCTC(Wav2Vec2Config(**sizes, **convolutions, **positions))
    job = half(targets=["Linear", "Conv1d"])
    assert list(Masks(model, job).left_out) == ["wav2vec2.encoder.pos_conv_embed.conv"]
    prune(model, job)
    assert measure_sparsity(model, job)[""] == 0.5
    with pytest.raises(CompressionError, match=r"pos_conv_embed\.conv cannot be compressed: its weight is computed"):
        Masks(model, half(targets=["re:.*pos_conv_embed.conv"]))
