"""Prepare a model, train it, convert it."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from hf_compress._errors import CompressionError
from hf_compress._modules.kinds.linear import Linear as LinearKind
from hf_compress._modules.matching import select_modules
from hf_compress._modules.module_kind import ModuleKind
from hf_compress.checkpoints.export_format import ExportFormat
from hf_compress.quantization.configuration import Quantization
from hf_compress.quantization.fake_quantize import fake_quantize_weight
from hf_compress.quantization.fitting import check_model
from hf_compress.quantization.modules.linear import FakeQuantizedLinear
from hf_compress.quantization.qat import convert, prepare, set_enabled
from hf_compress.quantization.quantizable import FakeQuantized, Quantizable, prepared
from hf_compress.quantization.schemes.presets import W4A16
from tests.tiny import tiny_bert, tiny_gpt2, tiny_llama, tiny_vit

GROUPS_OF_16 = Quantization(scheme=W4A16(group_size=16))
SCHEMES = [GROUPS_OF_16, Quantization(scheme="W8A8"), Quantization(scheme="FP8_DYNAMIC")]


def tokens():
    return torch.randint(3, 60, (2, 8), generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def logits(model):
    return model(input_ids=tokens()).logits


def test_by_hand_a_layer_computes_with_its_rounded_weights():
    model = nn.Sequential(nn.Linear(2, 1))
    model[0].weight.data = torch.tensor([[7.5, 1.2]])
    model[0].bias.data = torch.tensor([0.25])
    prepare(model, Quantization(scheme=W4A16(group_size=2)))
    assert model(torch.tensor([[1.0, 10.0]])).item() == 7 + 10 + 0.25


def test_preparing_keeps_parameters_names_and_state_dict():
    model = tiny_llama()
    parameters, state = dict(model.named_parameters()), {key: value.clone() for key, value in model.state_dict().items()}
    prepared = prepare(model, GROUPS_OF_16)
    assert len(prepared) == 14
    assert {name: id(value) for name, value in model.named_parameters()} == {n: id(v) for n, v in parameters.items()}
    assert list(model.state_dict()) == list(state)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_ignored_modules_stay_plain():
    model = tiny_llama()
    prepare(model, GROUPS_OF_16)
    assert type(model.lm_head) is nn.Linear


def test_switched_off_the_forward_is_the_dense_one_and_on_it_is_not():
    model = tiny_llama()
    dense = logits(model)
    prepare(model, GROUPS_OF_16, enabled=False)
    assert torch.equal(logits(model), dense)
    set_enabled(model, True)
    quantized = logits(model)
    assert not torch.equal(quantized, dense)
    set_enabled(model, False)
    assert torch.equal(logits(model), dense)


def test_the_forward_is_that_of_a_dense_model_with_rounded_weights():
    model, rounded = tiny_llama(), tiny_llama()
    names = prepare(model, GROUPS_OF_16)
    args = GROUPS_OF_16.scheme.to_compressed_tensors(["Linear"]).weights
    for name in names:
        weight = rounded.get_submodule(name).weight
        weight.data = fake_quantize_weight(weight.data, args)
    assert torch.equal(logits(model), logits(rounded))


@pytest.mark.parametrize("quantization", SCHEMES, ids=lambda quantization: quantization.scheme.name)
def test_gradients_are_those_of_a_dense_layer_at_the_rounded_point(quantization):
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(32, 8))
    inputs, upstream = torch.randn(5, 32, generator=generator), torch.randn(5, 8, generator=generator)
    scheme = prepare(model, quantization)["0"].qat_scheme
    inputs.requires_grad_()
    model(inputs).backward(upstream)
    seen = inputs.detach()
    if scheme.input_activations is not None:
        # What the layer saw of its inputs: an identity layer of the same scheme would round again, so round by hand.
        from hf_compress.quantization.fake_quantize import fake_quantize_input

        seen = fake_quantize_input(seen, scheme.input_activations, model[0])
    rounded = fake_quantize_weight(model[0].weight.detach(), scheme.weights)
    assert torch.equal(model[0].weight.grad, upstream.t() @ seen)
    assert torch.equal(inputs.grad, upstream @ rounded)
    assert torch.equal(model[0].bias.grad, upstream.sum(0))


def test_training_moves_every_prepared_weight_and_lowers_the_loss():
    model = tiny_llama()
    prepared = prepare(model, GROUPS_OF_16)
    before = {name: module.weight.detach().clone() for name, module in prepared.items()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(8):
        loss = model(input_ids=tokens(), labels=tokens()).loss
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < losses[0] - 0.2
    assert all(not torch.equal(module.weight, before[name]) for name, module in prepared.items())


def test_preparing_twice_changes_nothing():
    model = tiny_llama()
    prepare(model, GROUPS_OF_16)
    once = logits(model)
    prepare(model, GROUPS_OF_16)
    assert torch.equal(logits(model), once)


def test_a_prepared_model_can_be_copied():
    model = tiny_llama()
    prepare(model, GROUPS_OF_16)
    assert torch.equal(logits(copy.deepcopy(model)), logits(model))


@pytest.mark.parametrize("quantization", SCHEMES, ids=lambda quantization: quantization.scheme.name)
def test_converting_keeps_the_weights_and_the_forward_and_attaches_scales(quantization):
    model = tiny_llama()
    names = list(prepare(model, quantization))
    trained = {name: model.get_submodule(name).weight.clone() for name in names}
    quantized = logits(model)
    assert convert(model) == names
    assert torch.equal(logits(model), quantized)
    for name in names:
        module = model.get_submodule(name)
        assert type(module) is nn.Linear
        assert torch.equal(module.weight, trained[name])
        assert module.weight_scale.shape[0] == module.out_features
        assert not hasattr(module, "qat_scheme")


def test_converting_a_dense_model_is_refused():
    with pytest.raises(CompressionError, match=r"no module is prepared for quantization; call prepare\(\) or quantize\(\)"):
        convert(tiny_llama())


def test_conv1d_is_refused_by_name_with_the_way_out():
    message = (
        r"^quantization: GPT2LMHeadModel has no plain Linear module that can be quantized \(it has Conv1D x8, Embedding x2,"
        r" Linear x1, and lm_head cannot: its weight is tied to transformer\.wte, .*\); prune or distil it instead$"
    )
    for quantization in (Quantization(targets=["Conv1D"]), GROUPS_OF_16, Quantization(ignore=[])):
        with pytest.raises(CompressionError, match=message):
            prepare(tiny_gpt2(), quantization)


def test_a_model_whose_linears_are_all_ignored_is_refused_with_what_it_has_instead():
    with pytest.raises(CompressionError, match=r"matches is ignored by .*; the model has Embedding x3, Linear x14; name"):
        prepare(tiny_bert(), Quantization(scheme="W8A8", ignore=["Linear"]))


@pytest.mark.parametrize("targets", [["Conv2d"], ["re:.*projection"], ["vit.embeddings.patch_embeddings.projection"]])
def test_targets_that_name_nothing_but_other_classes_are_refused_with_those_that_can_be_quantized(targets):
    message = (
        r"^quantization: vit\.embeddings\.patch_embeddings\.projection cannot be compressed: it is a Conv2d, and only plain"
        r" Linear modules can be quantized; nothing else matches targets=.*, so name other targets: Linear x13 can be"
    )
    with pytest.raises(CompressionError, match=message):
        prepare(tiny_vit(), Quantization(scheme="W8A8", targets=targets))
    assert len(prepare(tiny_vit(), Quantization(scheme="W8A8", targets=["Linear", "Conv2d"]))) == 12


def test_of_many_that_cannot_be_compressed_the_first_is_named_with_their_number():
    chosen = select_modules(tiny_gpt2(), ["Conv1D"], [], "quantization")
    message = (
        "c_attn cannot be compressed: no; nor can 7 others that targets=.* matches, so name other targets: the model has"
    )
    with pytest.raises(CompressionError, match=message):
        chosen.without(dict.fromkeys(chosen.modules, "no"), ["Conv1D"], "quantization")


def test_a_linear_with_a_forward_of_its_own_is_refused():
    class Scaled(nn.Linear):
        def forward(self, input):
            return 2 * functional.linear(input, self.weight)

    model = nn.Sequential(Scaled(16, 16), nn.Linear(16, 16))
    with pytest.raises(CompressionError, match="0 cannot be compressed: it is a Scaled, and only plain Linear modules"):
        check_model(model, Quantization(scheme=W4A16(group_size=16), targets=["Scaled"]))


def test_a_group_size_that_does_not_divide_is_refused_with_one_that_does():
    message = (
        r"group_size=128 does not divide the 32 inputs of model\.layers\.0\.self_attn\.q_proj; set scheme\.group_size to 32"
    )
    with pytest.raises(CompressionError, match=message):
        prepare(tiny_llama(), Quantization())


def test_a_refused_model_is_left_as_it_was():
    model = tiny_llama(intermediate_size=72)
    with pytest.raises(CompressionError, match="group_size=16 does not divide the 72 inputs"):
        prepare(model, GROUPS_OF_16)
    assert not [module for module in model.modules() if isinstance(module, FakeQuantizedLinear)]


def test_an_encoder_is_prepared_like_a_decoder():
    model = tiny_bert()
    names = prepare(model, GROUPS_OF_16)
    assert "bert.encoder.layer.0.attention.self.query" in names
    assert "classifier" not in names


def test_what_no_format_can_hold_is_refused_before_training_and_what_one_can_is_kept_for_it(monkeypatch):
    """A kind of module that compressed-tensors does not pack, and a format of a user's own that holds it."""

    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4, 16, generator=torch.Generator().manual_seed(0)))

        def forward(self, input):
            return functional.linear(input, self.weight)

    class FakeOdd(FakeQuantized, Odd):
        matrix_kind = LinearKind()

        def forward(self, input):
            return functional.linear(self.seen_input(input), self.seen_weight())

    monkeypatch.setattr(Quantizable, "_registry", {**Quantizable.available()})
    monkeypatch.setattr(ModuleKind, "_registry", {**ModuleKind.available()})
    monkeypatch.setattr(ExportFormat, "_registry", {**ExportFormat.available()})
    type("QuantizableOdd", (Quantizable,), {"replaces": Odd, "fake": FakeOdd}, name="odd")
    type("OddKind", (LinearKind,), {"classes": (Odd,)}, name="odd")
    model = nn.Sequential(nn.Linear(16, 16), Odd())
    both = Quantization(scheme=W4A16(group_size=16), targets=["Linear", "Odd"])
    message = (
        r"1 is a Odd, and no export format of this run can hold it quantized \(compressed-tensors: .*Linear modules\); take"
    )
    with pytest.raises(CompressionError, match=message):
        prepare(model, both)
    assert not prepared(model.named_modules())
    type("Own", (ExportFormat,), {"holds": lambda self, module, scheme: ""}, name="own")
    prepare(model, both)
    inputs = torch.randn(3, 16, generator=torch.Generator().manual_seed(1))
    trained = model(inputs)
    assert convert(model) == ["0", "1"]
    assert type(model[0]) is nn.Linear and type(model[1]) is FakeOdd  # computes as it was trained
    assert torch.equal(model(inputs), trained)
