"""What a criterion is given, layer by layer."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from hf_compress._errors import CompressionError
from hf_compress._modules.matrix import weight_matrix
from hf_compress.calibration.collect import collect
from hf_compress.pruning.configuration import Pruning
from hf_compress.pruning.criterion import Criterion
from hf_compress.pruning.prune import prune
from hf_compress.pruning.schedules.constant import Constant
from hf_compress.pruning.statistics import by_layer, statistics_for
from tests.pruning.needy import Needy
from tests.tiny import tiny_gpt2, tiny_llama, tiny_vit


@dataclass(frozen=True, kw_only=True)
class Curious(Criterion):
    """Needs one statistic of each shape; not registered."""

    name = "curious"
    needs = ("input_norm", "gram", "fisher")

    def score(self, weight, stats):
        assert stats["fisher"].shape == weight.shape and stats["gram"].shape == (weight.shape[1],) * 2
        return stats["fisher"] + stats["input_norm"] + stats["gram"].diagonal()


def half(**changes):
    return Pruning(schedule=Constant(final=0.5), **changes)


def token_batches(count=2):
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randint(3, 60, (2, 6), generator=generator) for _ in range(count)]
    return [{"input_ids": ids, "labels": ids} for ids in rows]


def test_pruning_on_batches_is_pruning_by_hand_on_what_reaches_each_layer():
    model, batches = tiny_llama(), token_batches()
    seen = []
    name = "model.layers.1.mlp.down_proj"
    hook = model.get_submodule(name).register_forward_pre_hook(lambda module, args: seen.append(args[0].detach()))
    weight = model.get_submodule(name).weight.detach().clone()
    masks = prune(model, half(criterion=Needy()), batches)
    hook.remove()
    norm = torch.cat([inputs.reshape(-1, inputs.shape[-1]) for inputs in seen]).norm(dim=0)
    scores = weight.abs() * norm
    assert int((~masks[name]).sum()) == weight.numel() // 2
    assert float(scores[~masks[name]].max()) <= float(scores[masks[name]].min())
    assert torch.equal(model.get_submodule(name).weight == 0, ~masks[name])


def test_collected_statistics_prune_like_the_batches_they_come_from():
    batches = token_batches()
    collected = collect(tiny_llama(), batches, ["input_norm", "gram"])
    on_batches, on_statistics = (
        prune(tiny_llama(), half(criterion=Needy()), given) for given in (iter(batches), collected)
    )
    assert all(torch.equal(mask, on_statistics[name]) for name, mask in on_batches.items())


@pytest.mark.parametrize("name", ["gpt2", "vit"])
def test_statistics_are_aligned_with_the_weight_matrix_of_any_kind_of_module(name):
    if name == "gpt2":
        model, batches, targets = tiny_gpt2(), token_batches(), ["Conv1D"]
    else:
        pixels = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        model, targets = tiny_vit(), ["Conv2d", "Linear"]
        batches = [{"pixel_values": pixels, "labels": torch.tensor([0, 2])}]
    job = half(criterion=Curious(), targets=targets)
    collected = collect(model, batches, job.criterion.needs, modules=targets)
    modules = {key: one for key, one in model.named_modules() if f"{key}.weight" in collected["gram"]}
    stats = by_layer(collected, modules)
    for key, module in modules.items():
        gram, norm, fisher = (stats[key][need] for need in ("gram", "input_norm", "fisher"))
        assert fisher.shape == weight_matrix(module).shape
        torch.testing.assert_close(norm / norm.norm(), gram.diagonal().sqrt() / gram.diagonal().sum().sqrt())
    assert len(prune(model, job, batches)) == len([one for one in modules if "classifier" not in one])


def test_what_is_no_calibration_is_refused_before_anything_changes():
    model = tiny_llama()
    before = {name: one.clone() for name, one in model.named_parameters()}
    batch = token_batches(1)[0]
    for given, sentence in (
        (None, r"criterion 'needy' needs input_norm, measured on examples; give prune\(\) batches"),
        ([], "batches is empty; statistics need examples"),
        (batch, r"calibration has no input_norm, .*one batch as \[batch\]"),
        ({"gram": {}}, "calibration has no input_norm, which criterion 'needy' needs"),
        ({"input_norm": {}}, "needs input_norm of model.layers.0.self_attn.q_proj, and no example"),
    ):
        with pytest.raises(CompressionError, match=sentence):
            prune(model, half(criterion=Needy()), given)
    assert all(torch.equal(one, before[name]) for name, one in model.named_parameters())


def test_a_criterion_without_needs_looks_at_no_data():
    assert statistics_for(tiny_llama(), {}, Pruning(), iter(())) == {}


def test_convolutions_with_groups_are_refused_by_name():
    model = nn.Sequential(nn.Conv2d(4, 4, 3, groups=2))
    with pytest.raises(CompressionError, match="0 is a convolution of 2 groups that read different inputs"):
        prune(model, half(criterion=Needy(), targets=["Conv2d"]), [{"input": torch.ones(1, 4, 5, 5)}])
    prune(model, half(targets=["Conv2d"]))
