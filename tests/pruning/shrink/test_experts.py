"""What experts are worth, by hand; those that no token reached; what is refused."""

import logging

import pytest
import torch

from hf_compress import CompressionError, ShrinkPlan, choose_parts, shrink
from hf_compress.architectures.qwen3_moe import Mixtral, Qwen3Moe
from hf_compress.pruning.shrink.experts import expert_saliency
from tests.architectures.small import small_batch, small_model
from tests.tiny import tiny_llama


@pytest.mark.parametrize("architecture", [Qwen3Moe(), Mixtral()], ids=lambda row: row.name)
def test_an_expert_is_worth_the_mean_of_router_weight_times_norm_of_its_output(architecture):
    model = small_model(architecture, num_local_experts=8)
    batch = small_batch(model)
    batch["attention_mask"] = torch.tensor([[1] * 10, [1] * 6 + [0] * 4])
    seen = {}
    for place, layer in enumerate(model.model.layers):
        layer.mlp.register_forward_pre_hook(lambda _, args, place=place: seen.update({place: args[0].detach()}))
    with torch.no_grad():
        model(**batch)
        found = expert_saliency(
            model, {str(n): layer.mlp.experts for n, layer in enumerate(model.model.layers)}, 8, [batch]
        )
        for place, layer in enumerate(model.model.layers):
            rows = torch.cat([seen[place][0], seen[place][1, :6]])
            mlp, values = layer.mlp, [[] for _ in range(8)]
            for row in rows:  # token by token
                probabilities = (mlp.gate.weight @ row).softmax(0)
                top = probabilities.topk(2)
                weights = top.values / top.values.sum() if getattr(mlp.gate, "norm_topk_prob", True) else top.values
                for expert, weight in zip(top.indices.tolist(), weights.tolist(), strict=True):
                    gate, up = (mlp.experts.gate_up_proj[expert] @ row).chunk(2)
                    output = mlp.experts.down_proj[expert] @ (torch.nn.functional.silu(gate) * up)
                    values[expert].append(weight * output.norm().item())
            scores, counts = found[place]
            assert counts.tolist() == [len(one) for one in values]
            slow = torch.tensor([sum(one) / len(one) if one else 0.0 for one in values], dtype=torch.float64)
            torch.testing.assert_close(scores, slow, rtol=1e-5, atol=1e-9)


def test_the_packed_tensors_and_the_routers_rows_are_cut_alike():
    model = small_model(Qwen3Moe(), num_local_experts=8)
    choice = choose_parts(model, ShrinkPlan(experts=0.5), [small_batch(model, batch_size=8)])
    small = shrink(model, choice)
    assert small.config.num_experts == 4 and small.config.num_experts_per_tok == 2
    for place, kept in enumerate(choice.kept.stacks[0].experts):
        old, new = (one.model.layers[place].mlp for one in (model, small))
        assert torch.equal(new.gate.weight, old.gate.weight[list(kept)])
        assert torch.equal(new.experts.gate_up_proj, old.experts.gate_up_proj[list(kept)])
        assert torch.equal(new.experts.down_proj, old.experts.down_proj[list(kept)])
    assert "layer 0: 4 of 8 experts go (expert " in choice.describe()
    assert "router weight x norm of the output" in choice.describe()


def starved(model, experts):
    """The first layer's router sends no token to these."""
    gate = model.model.layers[0].mlp.gate
    model.model.layers[0].post_attention_layernorm.weight.data.fill_(1)
    gate.weight.data[list(experts)] = 0
    gate.register_forward_hook(lambda router, args, output: _without(router, output, list(experts)))
    return model


def _without(router, output, experts):
    logits = output[0].index_fill(1, torch.tensor(experts), -1e9)
    weights, places = logits.softmax(-1).topk(router.top_k)
    return logits, weights, places


def test_experts_that_no_token_reached_stay_and_are_named(caplog):
    model = starved(small_model(Mixtral(), num_local_experts=8), [1, 6])
    with caplog.at_level(logging.WARNING):
        choice = choose_parts(model, ShrinkPlan(experts=3), [small_batch(model, batch_size=16)])
    assert {1, 6} < set(choice.kept.stacks[0].experts[0]) and choice.kept.stacks[0].unseen[0] == (1, 6)
    assert "layer 0: no token of the batches reached expert 1, 6; kept" in caplog.text
    assert "no token reached expert 1, 6, which nothing is known of: kept" in choice.describe()


@pytest.mark.parametrize(
    ("plan", "batches", "said"),
    [
        ({"experts": 1}, True, r"experts=1: .*a token goes to 2 of them \(num_experts_per_tok\); legal: 2 to 8"),
        ({"experts": 9}, True, "legal: 2 to 8"),
        ({"experts": 4}, False, "experts=4: what experts are worth shows in how tokens are routed.*give calibration"),
        ({"experts": 2}, True, "in layer 0 no token of the batches reached 3 of 8 experts.*keep at least 3"),
    ],
)
def test_what_cannot_stay_is_refused_with_what_can(plan, batches, said):
    model = starved(small_model(Mixtral(), num_local_experts=8), [0, 3, 5])
    with pytest.raises(CompressionError, match=said):
        choose_parts(model, ShrinkPlan(**plan), [small_batch(model, batch_size=16)] if batches else None)


def test_a_model_without_experts_is_refused():
    with pytest.raises(CompressionError, match="experts=2: LlamaForCausalLM with .*, and no experts; leave them out"):
        choose_parts(tiny_llama(), ShrinkPlan(experts=2))
