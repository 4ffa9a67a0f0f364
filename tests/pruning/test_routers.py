"""What chooses the experts is not pruned, unless it is asked for by name."""

import logging

import pytest
import torch

from hf_compress import CompressionError, CompressionTrainer, Constant, Pruning, prune
from hf_compress._modules.routers import ROUTES
from hf_compress.evaluation.shares import describe_reach, measure_shares
from hf_compress.pruning.compute import measure_sparsity
from hf_compress.pruning.fit import chosen
from tests.quantization.test_routers import MODELS, ROUTERS
from tests.tiny import tiny_llama
from tests.training.runs import arguments, text_rows

HALF = Pruning(schedule=Constant(final=0.5), ignore=("lm_head",))


@pytest.mark.parametrize("name", MODELS)
def test_a_router_that_is_a_plain_linear_is_not_pruned_and_is_named(name, caplog):
    model = MODELS[name]()
    before = {router: model.get_submodule(router).weight.clone() for router in ROUTERS[name]}
    with caplog.at_level(logging.WARNING):
        masks = prune(model, HALF)
    assert masks and not ROUTERS[name] & set(masks)
    for router in ROUTERS[name]:
        assert torch.equal(model.get_submodule(router).weight, before[router])
    first = min(ROUTERS[name], key=list(dict(model.named_modules())).index)
    more = "" if len(ROUTERS[name]) == 1 else f" and {len(ROUTERS[name]) - 1} more"
    assert f"pruning leaves out {first}{more}: {ROUTES}" in caplog.text
    assert measure_sparsity(model, HALF)[""] == pytest.approx(0.5, abs=1e-2)
    assert measure_shares(model, HALF)["sparsity"] == measure_sparsity(model, HALF)[""]
    assert "it is a router" in describe_reach(model, HALF)[0]


def test_both_techniques_leave_the_same_routers():
    from hf_compress import Quantization
    from hf_compress.quantization.fitting import check_model

    for name, build in MODELS.items():
        pruned = chosen(build(), HALF).left_out
        quantized = check_model(build(), Quantization(scheme="W8A8", ignore=("lm_head",))).left_out
        assert {one for one, reason in pruned.items() if reason == ROUTES} == ROUTERS[name]
        assert {one for one, reason in quantized.items() if reason == ROUTES} == ROUTERS[name]


def test_the_trainer_holds_no_mask_for_it(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        trainer = CompressionTrainer(
            model=MODELS["qwen2_moe"](),
            args=arguments(tmp_path, max_steps=2, save_strategy="no"),
            train_dataset=text_rows(),
            pruning=HALF,
        )
        trainer.train()
    model = trainer.finalize()
    (router,) = ROUTERS["qwen2_moe"]
    assert (model.get_submodule(router).weight != 0).all()
    assert (model.get_submodule("model.layers.0.self_attn.q_proj").weight == 0).float().mean() == 0.5
    assert caplog.text.count(f"pruning leaves out {router}") == 1


def test_a_router_that_is_named_is_pruned():
    (router,) = ROUTERS["afmoe"]
    assert router in prune(
        MODELS["afmoe"](), Pruning(schedule=Constant(final=0.5), targets=("Linear", r"re:.*router\.gate"))
    )


def test_a_model_of_which_only_routers_are_left_is_refused():
    ignored = Pruning(schedule=Constant(final=0.5), ignore=("re:.*(lm_head|_proj)",))
    with pytest.raises(CompressionError, match="shared_expert_gate cannot be compressed: it is a router"):
        prune(MODELS["qwen2_moe"](), ignored)


def test_gates_of_an_mlp_are_pruned():
    model = tiny_llama()
    assert sum(name.endswith("gate_proj") for name in prune(model, HALF)) == model.config.num_hidden_layers
    with torch.no_grad():
        assert model(torch.arange(3, 11)[None]).logits.isfinite().all()
