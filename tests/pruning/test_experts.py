"""Packed experts: every expert's matrix is a layer of its own, pruned where it is asked for."""

import logging

import pytest
import torch
import transformers as t

from hf_compress import (
    NM,
    RIA,
    CompressionError,
    CompressionTrainer,
    Constant,
    Global,
    Movement,
    Pruning,
    Reconstruction,
    SparseGPT,
    prune,
    save_dense,
)
from hf_compress._modules.coverage import coverage
from hf_compress.evaluation.shares import measure_shares
from hf_compress.pruning.compute import measure_sparsity
from hf_compress.pruning.fit import chosen
from hf_compress.pruning.masks import Masks
from tests.quantization.test_routers import GROUPED, TINY
from tests.training.runs import arguments, pruning, text_rows

HALF = Constant(final=0.5)
MODELS = {
    "qwen3_moe": lambda **more: t.Qwen3MoeForCausalLM(t.Qwen3MoeConfig(**GROUPED, **TINY, head_dim=8, **more)),
    "mixtral": lambda **more: t.MixtralForCausalLM(
        t.MixtralConfig(**{**GROUPED, "intermediate_size": 16}, num_local_experts=4, **more)
    ),
    "gpt_oss": lambda **more: t.GptOssForCausalLM(  # stores (E, I, O)
        t.GptOssConfig(**{**GROUPED, "intermediate_size": 16}, head_dim=8, num_local_experts=4, **more)
    ),
}
CLASS = {"qwen3_moe": "Qwen3MoeExperts", "mixtral": "MixtralExperts", "gpt_oss": "GptOssExperts"}
EXPERTS = "model.layers.0.mlp.experts"
INPUTS = {"gate_up_proj": 32, "down_proj": 16}


def built(name, seed=0, **more):
    torch.manual_seed(seed)
    return MODELS[name](**more).eval()


def matrices(name, model):
    """Each expert's (O, I) by the name of its mask, written down without the library."""
    experts = model.get_submodule(EXPERTS)
    for own in INPUTS:
        for place, stored in enumerate(getattr(experts, own).detach()):
            yield f"{EXPERTS}.{own}.{place}", stored.t() if name == "gpt_oss" else stored


@pytest.mark.parametrize("target", ["class", EXPERTS, r"re:.*experts$"])
@pytest.mark.parametrize("name", MODELS)
def test_every_expert_loses_its_own_smallest_half(name, target):
    model = built(name)
    before = {one: matrix.clone() for one, matrix in matrices(name, model)}
    router = model.get_submodule("model.layers.0.mlp").state_dict()
    masks = prune(model, Pruning(schedule=HALF, targets=[CLASS[name] if target == "class" else target]))
    assert list(masks) == list(before) and len(masks) == 8
    for one, matrix in matrices(name, model):
        smallest = before[one].abs().flatten().sort().values[matrix.numel() // 2]
        keep = before[one].abs() >= smallest
        assert torch.equal(masks[one], keep)
        assert torch.equal(matrix, before[one] * keep)
    for key, value in model.get_submodule("model.layers.0.mlp").state_dict().items():
        if not key.endswith(("experts.gate_up_proj", "experts.down_proj")):
            assert torch.equal(value, router[key])


@pytest.mark.parametrize("name", MODELS)
def test_two_of_four_run_along_the_inputs_of_each_expert(name):
    model = built(name)
    prune(model, Pruning(pattern=NM(n=2, m=4), schedule=HALF, targets=[CLASS[name]]))
    for one, matrix in matrices(name, model):
        assert matrix.shape[1] == INPUTS[one.split(".")[-2]]
        assert bool(((matrix != 0).unflatten(1, (-1, 4)).sum(2) == 2).all())


def test_one_threshold_goes_through_all_experts_and_layers():
    model = built("qwen3_moe")
    model.get_submodule(EXPERTS).down_proj.data[2] += 5
    job = Pruning(schedule=HALF, allocation=Global(), targets=["Linear", "Qwen3MoeExperts"])
    masks = prune(model, job)
    assert masks[f"{EXPERTS}.down_proj.2"].all() and not masks[f"{EXPERTS}.down_proj.1"].all()
    assert "model.layers.0.self_attn.q_proj" in masks
    assert measure_sparsity(model, job)[""] == pytest.approx(0.5, abs=1e-3)


def test_a_part_of_the_matrices_can_be_ignored(caplog):
    model = built("mixtral")
    job = Pruning(
        schedule=HALF, targets=["MixtralExperts"], ignore=[r"re:.*experts\.gate_up_proj", f"{EXPERTS}.down_proj.3"]
    )
    assert list(prune(model, job)) == [f"{EXPERTS}.down_proj.{place}" for place in range(3)]
    assert "matches no module" not in caplog.text
    with pytest.raises(CompressionError, match="every matrix of the experts that targets match is ignored"):
        prune(model, Pruning(schedule=HALF, targets=["MixtralExperts"], ignore=[r"re:.*experts\."]))


def test_the_default_targets_leave_them_dense():
    model = built("mixtral")
    assert not any("experts" in name for name in prune(model, Pruning(schedule=HALF)))


def test_coverage_and_shares_count_them():
    model = built("mixtral")
    selection = chosen(model, Pruning(schedule=HALF, targets=["MixtralExperts"], ignore=[r"re:.*down_proj\.[01]$"]))
    found = coverage(model, selection.modules)
    # By hand: 4 experts of 32 x 32 and 2 of 32 x 16; 2 of 32 x 16 are left.
    assert found.matched == 4 * 1024 + 2 * 512 and found.left["MixtralExperts"] == 2 * 512
    assert found.modules == {"MixtralExperts": (1, 1)}
    assert found.total == sum(one.numel() for one in model.parameters() if one.dim() >= 2)
    both = Pruning(schedule=HALF, targets=["Linear", "MixtralExperts"])
    prune(model, both)
    zeros = sum(int((one == 0).sum()) for one in model.parameters() if one.dim() >= 2)
    assert measure_shares(model, both)["sparsity"] == 0.5
    assert measure_shares(model, both)["zeros_share"] == pytest.approx(zeros / found.total)


@pytest.mark.parametrize(
    ("job", "way", "message"),
    [
        (
            {"criterion": RIA()},
            {},
            "ria needs input_norm of each layer; prune them by what needs none, or add 'MixtralExperts'",
        ),
        (
            {},
            {"solver": SparseGPT()},
            "gate_up_proj.0 is one of many experts in one parameter, which no pass shows one by one",
        ),
        ({}, {"reconstruct": Reconstruction(steps=1)}, "block by block each layer is looked at; prune them at once"),
    ],
)
def test_what_looks_at_layers_while_the_model_runs_is_refused(job, way, message):
    model = built("mixtral")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    batches = [{"input_ids": torch.randint(0, 64, (2, 8))}]
    with pytest.raises(CompressionError, match=message):
        prune(model, Pruning(schedule=HALF, targets=["Linear", "MixtralExperts"], **job), calibration=batches, **way)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@torch.no_grad()
def test_masks_reach_gradients_and_moments_of_their_expert_alone():
    model = built("gpt_oss")
    masks = Masks(model, Pruning(schedule=HALF, targets=["GptOssExperts"]))
    masks.update(0.5)
    masks.apply()
    experts = model.get_submodule(EXPERTS)
    optimizer = torch.optim.AdamW(model.parameters())
    with torch.enable_grad():
        model(torch.randint(0, 64, (2, 8)), labels=torch.randint(0, 64, (2, 8))).loss.backward()
    optimizer.step()
    masks.apply_to_gradients()
    masks.apply_to_optimizer(optimizer)
    for own in INPUTS:
        parameter = getattr(experts, own)
        keep = torch.stack([masks.keep[f"{EXPERTS}.{own}.{place}"].t() for place in range(4)])
        for numbers in (parameter.grad, *(optimizer.state[parameter][moment] for moment in ("exp_avg", "exp_avg_sq"))):
            assert not numbers[~keep].any() and numbers[keep].any()
        assert parameter[~keep].any()  # the step has moved them
    masks.apply()
    assert masks.lost() == {} and masks.sparsity() == 0.5


def trained(folder, model, job, resume=None, **changes):
    trainer = CompressionTrainer(model=model, args=arguments(folder, **changes), train_dataset=text_rows(), pruning=job)
    trainer.train(resume_from_checkpoint=resume)
    return trainer


@pytest.mark.parametrize("name", ["qwen3_moe", "mixtral"])
def test_gradual_training_prunes_every_expert_and_resumes_exactly(name, tmp_path, caplog):
    job = Pruning(schedule=pruning().schedule, targets=["Linear", CLASS[name]])
    with caplog.at_level(logging.INFO):
        straight = trained(tmp_path / "whole", built(name), job)
    assert f"1 of 1 {CLASS[name]}" in caplog.text
    resumed = trained(tmp_path / "again", built(name, seed=9), job, resume=str(tmp_path / "whole" / "checkpoint-6"))
    weights = straight.model.state_dict()
    assert all(torch.equal(value, weights[key]) for key, value in resumed.model.state_dict().items())
    model = straight.finalize()
    for _, matrix in matrices(name, model):
        assert int((matrix == 0).sum()) == matrix.numel() // 2
    save_dense(model, tmp_path / "out")
    stock = t.AutoModelForCausalLM.from_pretrained(tmp_path / "out")  # a file per expert, put together again
    for (_, matrix), (_, loaded) in zip(matrices(name, model), matrices(name, stock), strict=True):
        assert torch.equal(loaded, matrix)


def test_from_zeros_keeps_those_of_experts(tmp_path, caplog):
    model = built("qwen3_moe")
    prune(model, Pruning(schedule=HALF, targets=["Qwen3MoeExperts"]))
    before = {one: matrix == 0 for one, matrix in matrices("qwen3_moe", model)}
    with caplog.at_level(logging.INFO):
        trainer = trained(tmp_path, model, Pruning(masks="from_zeros", targets=["Qwen3MoeExperts"]), save_strategy="no")
    assert "kept at zero: 3072 of 6144 weights in 8 of 8 layers" in caplog.text
    assert "does not reach" not in caplog.text
    for one, matrix in matrices("qwen3_moe", trainer.finalize()):
        assert torch.equal(matrix == 0, before[one])


def test_movement_adds_up_the_gradients_of_each_expert(tmp_path):
    schedule = pruning(begin="30%").schedule
    job = Pruning(criterion=Movement(), schedule=schedule, targets=["Qwen3MoeExperts"])
    trainer = trained(tmp_path, built("qwen3_moe"), job, save_strategy="no")
    assert measure_sparsity(trainer.finalize(), job)[f"{EXPERTS}.down_proj.1"] == 0.5


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # PEFT asks by it
def test_an_adapter_on_the_experts_themselves_is_refused():
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(target_modules=[], target_parameters=["experts.down_proj"], r=2)
    model = peft.get_peft_model(built("mixtral"), config)
    with pytest.raises(CompressionError, match="an adapter changes the packed experts .*experts themselves"):
        chosen(model, Pruning(schedule=HALF, targets=["MixtralExperts"]))
    chosen(model, Pruning(schedule=HALF))
