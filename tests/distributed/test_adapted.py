"""LoRA under DDP, FSDP 2 and ZeRO: the adapter of one process, as stock PEFT and transformers read it."""

import importlib.util

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from tests.distributed import deepspeed_on_cpu, test_fsdp2, test_two_processes, test_zero
from tests.distributed.adapted_runs import student, trainer_of
from tests.tiny import tiny_llama
from tests.training.runs import assert_equal_bits

ddp, fsdp2, zero = test_two_processes.done, test_fsdp2.done, test_zero.done
"""What two processes of each strategy left."""
PLACES = {
    "DDP": ("ddp", "adapted"),
    "FSDP 2": ("fsdp2", "adapted/SHARDED_STATE_DICT"),
    "FSDP 2, full state": ("fsdp2", "adapted/FULL_STATE_DICT"),
    "ZeRO-2": ("zero", "adapted2"),
    "ZeRO-3": ("zero", "adapted3"),
}
# peft 0.21 itself still reads the old name
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    trainer = trainer_of(tmp_path_factory.mktemp("alone"), processes=1, save_strategy="no")
    trainer.train()
    return trainer


def folder_of(place, request):
    if place.startswith("ZeRO") and importlib.util.find_spec(deepspeed_on_cpu.PACKAGE) is None:
        pytest.skip("DeepSpeed is not installed (pip install deepspeed)")
    fixture, name = PLACES[place]
    return request.getfixturevalue(fixture) / name


@pytest.mark.parametrize("place", PLACES)
def test_two_processes_train_the_adapter_of_one(place, request, alone):
    """Resumed to the same bits in the workers."""
    folder = folder_of(place, request)
    first, second = (torch.load(folder / f"ended{rank}.pt", weights_only=True) for rank in (0, 1))
    assert_equal_bits(first, second)
    begun, moved = student().state_dict(), 0.0
    for name, expected in alone.model.state_dict().items():
        assert first[name].dtype == expected.dtype
        # Sums of gradients in another order; ZeRO-3 brings a linear function of its own, which rounds bf16 elsewhere.
        tolerance = 1e-4 if place == "ZeRO-3" else 1e-5
        torch.testing.assert_close(first[name], expected, rtol=0, atol=tolerance, msg=name)
        moved = max(moved, float((expected.float() - begun[name].float()).abs().max()))
    assert moved > 1e-3


@pytest.mark.parametrize("place", PLACES)
def test_peft_and_transformers_load_what_was_saved(place, request, tmp_path):
    folder = folder_of(place, request)
    trained = student()
    trained.load_state_dict(torch.load(folder / "ended0.pt", weights_only=True))
    tokens = torch.arange(3, 15).view(1, 12)
    expected = trained.eval()(tokens).logits
    for saved in ("saved", "final"):
        assert not (folder / saved / "model.safetensors").exists()
        base = tiny_llama(seed=0, tie_word_embeddings=True).to(torch.bfloat16)
        loaded = PeftModel.from_pretrained(base, folder / saved)
        assert torch.equal(loaded(tokens).logits, expected)
    loaded.merge_and_unload().save_pretrained(tmp_path)
    merged, info = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16, output_loading_info=True)
    assert not any(info.values())
    torch.testing.assert_close(merged(tokens).logits, expected, rtol=0, atol=0.05)  # rounded to bf16 after the sum


def test_two_processes_prune_the_base_beneath_an_adapter_alike_and_resume_to_the_same_bits(ddp):
    first, *others = (
        torch.load(ddp / "beneath" / f"{name}{rank}.pt", weights_only=True)
        for name in ("straight", "resumed")
        for rank in (0, 1)
    )
    for other in others:
        for what, expected in first.items():
            assert_equal_bits(other[what], expected)
    assert len(first["masks"]) == 14
    for name, keep in first["masks"].items():
        assert int((~keep).sum()) == keep.numel() // 2
        assert torch.equal(first["merged"][f"{name}.weight"] == 0, ~keep)
    assert bool(first["adapted"]["base_model.model.model.layers.0.self_attn.q_proj.lora_B.default.weight"].any())


@pytest.mark.parametrize("form", test_fsdp2.FORMS)
def test_one_process_goes_on_from_an_adapter_trained_in_shards(form, fsdp2, tmp_path):
    folder = fsdp2 / "adapted" / form
    resumed = trainer_of(tmp_path, processes=1, save_strategy="no")
    resumed.train(resume_from_checkpoint=str(folder / "checkpoint-2"))
    for name, value in torch.load(folder / "ended0.pt", weights_only=True).items():
        torch.testing.assert_close(resumed.model.state_dict()[name], value, rtol=0, atol=1e-5, msg=name)
