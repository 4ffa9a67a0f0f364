"""Dense checkpoints hold what the model holds."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from hf_compress import Constant, Pruning, Quantization, prune, quantize, save_dense
from hf_compress._errors import CompressionError
from hf_compress.quantization.qat import prepare
from tests.tiny import tiny_llama, tiny_t5, tiny_tokenizer


def test_zeros_and_logits_survive(tmp_path):
    model = tiny_llama()
    prune(model, Pruning(schedule=Constant(final=0.5)))
    assert save_dense(model, tmp_path / "model", tiny_tokenizer()) == tmp_path / "model"
    reloaded = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    weight = reloaded.model.layers[0].mlp.up_proj.weight
    assert (weight == 0).sum().item() == weight.numel() // 2
    ids = torch.arange(3, 11)[None]
    with torch.no_grad():
        assert torch.equal(reloaded(input_ids=ids).logits, model.eval()(input_ids=ids).logits)
    assert AutoTokenizer.from_pretrained(tmp_path / "model").get_vocab() == tiny_tokenizer().get_vocab()


def test_the_type_is_stored_and_loaded_again(tmp_path):
    save_dense(tiny_llama(), tmp_path / "model", dtype="bfloat16")
    assert json.loads((tmp_path / "model" / "config.json").read_text())["dtype"] == "bfloat16"
    reloaded = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    for (name, stored), original in zip(reloaded.named_parameters(), tiny_llama().parameters(), strict=True):
        assert torch.equal(stored, original.bfloat16()), name


@pytest.mark.parametrize("how", [prepare, quantize])
def test_a_quantized_model_is_refused_and_nothing_is_written(how, tmp_path):
    model = tiny_llama()
    how(model, Quantization(scheme="W8A8"))
    with pytest.raises(CompressionError, match=r"q_proj is quantized, .* write it with save_compressed"):
        save_dense(model, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_type_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(CompressionError, match="dtype='int8' is not a floating torch type"):
        save_dense(tiny_llama(), tmp_path / "model", dtype="int8")
    assert list(tmp_path.iterdir()) == []


def test_the_model_keeps_its_type_and_its_weights(tmp_path):
    model = tiny_llama()
    before = {name: (tensor.data_ptr(), tensor.clone()) for name, tensor in model.state_dict().items()}
    save_dense(model, tmp_path / "model", dtype="bfloat16")
    for name, tensor in model.state_dict().items():
        place, value = before[name]
        assert tensor.data_ptr() == place and tensor.dtype is torch.float32 and torch.equal(tensor, value)
    assert model.config.dtype is tiny_llama().config.dtype


def test_a_failure_leaves_the_model_and_no_folder(tmp_path, monkeypatch):
    model = tiny_llama()
    monkeypatch.setattr(type(model), "save_pretrained", lambda *args, **kwargs: (_ for _ in ()).throw(RuntimeError("no")))
    with pytest.raises(RuntimeError, match="no"):
        save_dense(model, tmp_path / "model", dtype="bfloat16")
    assert model.dtype is torch.float32 and list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    save_dense(model, tmp_path / "model", dtype="bfloat16")


def test_what_transformers_loads_in_fp32_is_stored_in_fp32(tmp_path):
    """T5's `wo` beside float16: rounding it would make the model another one than its checkpoint."""
    model = tiny_t5()
    save_dense(model, tmp_path / "model", dtype="float16")
    reloaded = type(model).from_pretrained(tmp_path / "model")
    name = "encoder.block.0.layer.1.DenseReluDense.wo.weight"
    assert torch.equal(reloaded.get_parameter(name), model.get_parameter(name))
    assert reloaded.get_parameter(name).dtype is torch.float32 and reloaded.dtype is torch.float16


def test_weights_that_are_no_numbers_are_refused_by_name(tmp_path):
    model = tiny_llama()
    with torch.no_grad():
        model.model.norm.weight[0] = float("nan")
    with pytest.raises(CompressionError, match=r"model\.norm\.weight holds NaN or infinity"):
        save_dense(model, tmp_path / "model")
    with pytest.raises(CompressionError, match="Linear is not a transformers model"):
        save_dense(torch.nn.Linear(2, 2), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")  # peft asks for it
def test_adapters_are_refused_with_the_way_to_merge_them(tmp_path):
    peft = pytest.importorskip("peft", reason="the peft extra is not installed")
    model = peft.get_peft_model(tiny_llama(), peft.LoraConfig(r=2, target_modules=["q_proj"]))
    with pytest.raises(CompressionError, match="PeftModel is a model with adapters.*merge_and_unload"):
        save_dense(model, tmp_path / "model")
    assert not (tmp_path / "model").exists()
    save_dense(model.merge_and_unload(), tmp_path / "model")
