import pytest
import torch
from torch import nn
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

from hf_compress._errors import CompressionError
from hf_compress.calibration.collect import collect, collect_fisher, collect_gram
from hf_compress.calibration.statistic import Statistic
from hf_compress.merging.methods.regmean import RegMean
from hf_compress.merging.operands import Operands
from tests.tiny import tiny_bert, tiny_gpt2, tiny_llama, tiny_t5
from tests.training.runs import assert_equal_bits


class Output:
    def __init__(self, logits):
        self.logits = logits


class Logistic(nn.Module):
    """p(c | x) = softmax(W x + b)_c."""

    def __init__(self, inputs, classes):
        super().__init__()
        self.layer = nn.Linear(inputs, classes)

    def forward(self, x):
        return Output(self.layer(x))


def logistic(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Logistic(4, 3)


def tokens(batch, length, seed=0):
    return torch.randint(3, 60, (batch, length), generator=torch.Generator().manual_seed(seed))


def test_the_expected_fisher_of_logistic_regression_is_the_closed_form():
    model, x = logistic(), torch.randn(7, 4, generator=torch.Generator().manual_seed(1))
    fisher = collect_fisher(model, [{"x": x[:4]}, {"x": x[4:]}])
    p = model.layer(x).softmax(1).detach()
    # d log p_y / d W[c, i] = (1[y = c] - p_c) x_i, whose square has the mean p_c (1 - p_c) x_i^2 over y.
    variance = p * (1 - p)
    torch.testing.assert_close(fisher["layer.bias"], variance.mean(0))
    torch.testing.assert_close(fisher["layer.weight"], torch.einsum("nc,ni->ci", variance, x**2) / 7)


def test_the_true_fisher_squares_each_examples_gradient_not_their_mean():
    model, x = logistic(), torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    fisher = collect_fisher(model, [{"x": x, "labels": labels}], labels="true")
    wanted = torch.zeros(3, 4)
    for one, label in zip(x, labels, strict=True):
        gradient = torch.autograd.grad(nn.functional.cross_entropy(model.layer(one[None]), label[None]), model.layer.weight)
        wanted += gradient[0] ** 2 / 6
    torch.testing.assert_close(fisher["layer.weight"], wanted)


def test_sampled_labels_approach_the_expectation_and_repeat_with_the_seed():
    model, x = logistic(), torch.randn(1, 4, generator=torch.Generator().manual_seed(1))
    batch = {"x": x.expand(2000, 4)}
    sampled = collect_fisher(model, [batch], labels="sampled", seed=3)
    exact = collect_fisher(model, [{"x": x}])
    # 2000 draws: a standard error of about 2 % of the value.
    torch.testing.assert_close(sampled["layer.weight"], exact["layer.weight"], rtol=0.15, atol=1e-3)
    few = {"x": x.expand(20, 4)}
    first, again = (collect_fisher(model, [few], labels="sampled", seed=3) for _ in range(2))
    assert torch.equal(first["layer.bias"], again["layer.bias"])


def test_a_language_model_is_scored_on_the_next_tokens_and_padding_does_not_count():
    model = tiny_llama()
    ids = tokens(2, 6)
    labels = ids.clone()
    labels[1, 4:] = -100
    mask = torch.ones_like(ids)
    mask[1, 4:] = 0
    batch = {"input_ids": ids, "attention_mask": mask, "labels": labels}
    fisher = collect_fisher(model, [batch], labels="true")
    wanted = 0
    for number, length in ((0, 6), (1, 4)):
        one = ids[number : number + 1, :length]
        loss = model(input_ids=one, labels=one).loss * (length - 1)
        wanted = wanted + torch.autograd.grad(loss, model.lm_head.weight)[0] ** 2 / 2
    torch.testing.assert_close(fisher["lm_head.weight"], wanted, atol=1e-6, rtol=1e-4)


def test_an_encoder_decoder_is_scored_on_its_labels_as_they_are():
    model = tiny_t5().eval()
    batch = {"input_ids": tokens(1, 5), "labels": tokens(1, 4, seed=1)}
    fisher = collect_fisher(model, [batch], labels="true")
    loss = model(**batch).loss * 4
    gradient = torch.autograd.grad(loss, model.encoder.final_layer_norm.weight)[0]
    torch.testing.assert_close(fisher["encoder.final_layer_norm.weight"], gradient**2, atol=1e-7, rtol=1e-4)


def test_the_model_ends_as_it_was_frozen_parameters_and_dropout_included():
    model = tiny_bert().train()
    model.bert.embeddings.word_embeddings.weight.requires_grad_(False)
    model.bert.pooler.eval()
    fisher = collect_fisher(model, [{"input_ids": tokens(2, 5)}])
    assert set(fisher) == {name for name, _ in model.named_parameters()}
    assert fisher["bert.embeddings.word_embeddings.weight"].sum() > 0
    assert not model.bert.embeddings.word_embeddings.weight.requires_grad
    assert model.training and not model.bert.pooler.training
    assert all(one.grad is None for one in model.parameters())


def test_fishers_that_cannot_be_taken_are_refused():
    with pytest.raises(CompressionError, match="LlamaForCausalLM predicts tokens; write 'sampled' or 'true'"):
        collect_fisher(tiny_llama(), [{"input_ids": tokens(1, 4)}])
    with pytest.raises(CompressionError, match="unknown labels 'empirical'"):
        collect_fisher(tiny_bert(), [{"input_ids": tokens(1, 4), "labels": torch.tensor([1])}], labels="empirical")
    with pytest.raises(CompressionError, match="a batch has no labels"):
        collect_fisher(tiny_bert(), [{"input_ids": tokens(1, 4)}], labels="true")
    with pytest.raises(CompressionError, match="batches is empty"):
        collect_fisher(tiny_bert(), [])
    with pytest.raises(CompressionError, match="does not choose one of several classes"):
        collect_fisher(tiny_bert(num_labels=1), [{"input_ids": tokens(1, 4)}])
    with pytest.raises(CompressionError, match="no example has a label"):
        ids = tokens(1, 4)
        collect_fisher(tiny_llama(), [{"input_ids": ids, "labels": torch.full_like(ids, -100)}], labels="true")
    with pytest.raises(CompressionError, match="label -1 is not one of the 3 classes of BertForSequenceClassification"):
        collect_fisher(tiny_bert(), [{"input_ids": tokens(1, 4), "labels": torch.tensor([-1])}], labels="true")


def test_an_example_without_a_label_adds_nothing():
    batch = {"input_ids": tokens(2, 4), "labels": torch.tensor([1, -100])}
    both = collect_fisher(tiny_bert(), [batch], labels="true")
    one = collect_fisher(tiny_bert(), [{name: tensor[:1] for name, tensor in batch.items()}], labels="true")
    torch.testing.assert_close(both["classifier.weight"], one["classifier.weight"] / 2)


def test_statistics_that_are_not_finite_are_refused():
    model, batch = tiny_bert(), {"input_ids": tokens(1, 4)}
    model.bert.encoder.layer[1].output.dense.weight.data[0, 0] = float("nan")
    with pytest.raises(CompressionError, match=r"the statistic fisher of .* holds NaN or infinity"):
        collect_fisher(model, [batch])
    with pytest.raises(CompressionError, match=r"the statistic gram of .* holds NaN or infinity"):
        collect_gram(model, [batch])
    model = tiny_llama()
    model.model.norm.weight.data[0] = float("nan")
    with pytest.raises(
        CompressionError, match="outputs of the model hold NaN or infinity, so no label can be drawn for fisher"
    ):
        collect_fisher(model, [{**batch, "labels": batch["input_ids"]}], labels="sampled")


def test_gram_matrices_leave_padding_out_and_count_pooled_inputs_per_example():
    model = tiny_bert().eval()
    ids = tokens(2, 6)
    mask = torch.ones_like(ids)
    mask[1, 3:] = 0
    grams = collect_gram(model, [{"input_ids": ids, "attention_mask": mask}])
    with torch.no_grad():
        embedded = model.bert.embeddings(input_ids=ids)
        output = model(input_ids=ids, attention_mask=mask, output_hidden_states=True)
        pooled = output.hidden_states[-1][:, 0]
    rows = embedded[mask.bool()]
    torch.testing.assert_close(grams["bert.encoder.layer.0.attention.self.query.weight"], rows.T @ rows / 9)
    torch.testing.assert_close(grams["bert.pooler.dense.weight"], pooled.T @ pooled / 2)
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    assert set(grams) == {f"{name}.weight" for name in linear}


def test_one_pass_gives_every_statistic_as_it_is_alone():
    model = tiny_bert()
    batch = {"input_ids": tokens(3, 6), "labels": torch.tensor([0, 1, 2])}
    passes = []
    hook = model.bert.embeddings.register_forward_hook(lambda *_: passes.append(1))
    together = collect(model, iter([batch, batch]), list(Statistic.available()))
    hook.remove()
    gradients = sum(one.needs_gradient for one in Statistic.available().values())
    assert len(passes) == 2 + 6 * gradients, "each batch once for inputs, each example once for each kind of gradients"
    assert set(together) == set(Statistic.available())
    for name, values in together.items():
        assert_equal_bits(values, collect(model, [batch, batch], [name])[name])


def test_modules_limit_gradients_to_their_weights():
    model, batch = tiny_llama(), {"input_ids": tokens(2, 6), "labels": tokens(2, 6)}
    some = collect(model, [batch], ["fisher", "gram"], modules=["re:.*up_proj"])
    every = collect(model, [batch], ["fisher", "gram"])
    names = {f"model.layers.{layer}.mlp.up_proj.weight" for layer in range(2)}
    assert set(some["fisher"]) == set(some["gram"]) == names
    assert len(every["fisher"]) == len(list(model.named_parameters()))
    for statistic, values in some.items():
        assert_equal_bits(values, {name: every[statistic][name] for name in names})
    without = collect(model, [batch], ["gram"], ignore=["re:.*up_proj"])
    assert set(without["gram"]) == set(every["gram"]) - names


def test_a_layer_that_no_batch_reaches_is_said_and_left_out(caplog):
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    model.forward = lambda x: model[0](x)
    assert set(collect(model, [{"x": torch.ones(2, 4)}], ["input_norm"])["input_norm"]) == {"0.weight"}
    assert "no input_norm for 1 layers that no batch reached, e.g. 1" in caplog.text


def test_batches_add_up_to_one():
    model, ids = tiny_bert(), tokens(4, 6)
    together = collect_gram(model, [{"input_ids": ids}])
    apart = collect_gram(model, [{"input_ids": ids[:1]}, {"input_ids": ids[1:]}])
    for name, gram in together.items():
        torch.testing.assert_close(apart[name], gram, atol=1e-5, rtol=1e-5)


def test_conv1d_is_measured_tied_heads_are_not_and_routers_by_name():
    assert set(collect_gram(tiny_gpt2(), [{"input_ids": tokens(2, 5)}])) == {
        f"transformer.h.{layer}.{part}.weight"
        for layer in range(2)
        for part in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    }
    config = Qwen3MoeConfig(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=32,
        moe_intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        num_experts=4,
        num_experts_per_tok=2,
    )
    ids = tokens(2, 5)
    grams = collect_gram(Qwen3MoeForCausalLM(config), [{"input_ids": ids}], modules=["re:.*mlp.gate"], ignore=["lm_head"])
    assert [name for name, gram in grams.items() if gram.shape == (16, 16)] == ["model.layers.0.mlp.gate.weight"]


def test_masks_of_one_shape_that_differ_are_refused():
    model = tiny_t5()
    mask = torch.tensor([[1, 1, 1, 0]])
    batch = {"input_ids": tokens(1, 4), "attention_mask": mask, "labels": tokens(1, 4, seed=1)}
    collect_gram(model, [{**batch, "attention_mask": torch.ones_like(mask)}])
    # Without a mask of its own the decoder has no padding, and the encoder's mask is not for it.
    for more in ({}, {"decoder_attention_mask": torch.ones_like(mask)}):
        with pytest.raises(CompressionError, match="the masks of the encoder and the decoder have the same shape"):
            collect_gram(model, [{**batch, **more}])


def test_regmean_with_collected_grams_is_least_squares_on_the_layers_real_inputs():
    models = [tiny_bert(seed=0).eval(), tiny_bert(seed=1).eval()]
    name = "bert.encoder.layer.1.output.dense"
    inputs, grams = [], []
    for number, model in enumerate(models):
        batch = {"input_ids": tokens(40, 8, seed=number)}
        seen = []
        hook = model.get_submodule(name).register_forward_pre_hook(lambda module, args, seen=seen: seen.append(args[0]))
        grams.append(collect_gram(model, [batch])[f"{name}.weight"])
        hook.remove()
        inputs.append(seen[0].reshape(-1, seen[0].shape[-1]).double())
    layers = [model.get_submodule(name).weight.detach() for model in models]
    operands = Operands(name="w", members=("a", "b"), tensors=tuple(layers), statistics={"gram": tuple(grams)})
    merged = RegMean(alpha=1.0).merge(operands, None)
    targets = [x @ w.T.double() for x, w in zip(inputs, layers, strict=True)]

    def error(weight):
        return sum(float(((x @ weight.T.double() - y) ** 2).sum()) for x, y in zip(inputs, targets, strict=True))

    best = torch.linalg.lstsq(torch.cat(inputs), torch.cat(targets)).solution.T
    # Gram matrices are stored in fp32; directions they cannot tell from rounding are left at the mean.
    assert error(merged) <= error(best) * 1.001
    assert error(merged) < 0.9 * error((layers[0] + layers[1]) / 2)
