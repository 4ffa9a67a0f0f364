"""What merging takes from inside transformers: names that are no public interface, pinned so that a change is seen here."""

import inspect

import pytest
import torch
from transformers import BertForMaskedLM, LlamaConfig, LlamaForCausalLM, conversion_mapping, core_model_loading

from tests.merging.zoo import ZOO, make

SIGNATURES = {
    core_model_loading.revert_weight_conversion: ["model", "state_dict"],
    core_model_loading.rename_source_key: [
        *("source_key", "weight_renamings", "weight_converters", "base_model_prefix", "meta_state_dict", "reverse"),
    ],
    conversion_mapping.get_model_conversion_mapping: ["model", "key_mapping", "hf_quantizer", "add_legacy"],
}


@pytest.mark.parametrize("function", SIGNATURES, ids=lambda function: function.__name__)
def test_functions_have_the_signature_they_are_called_with(function):
    assert list(inspect.signature(function).parameters) == SIGNATURES[function]


@pytest.mark.parametrize("name", ["Llama", "Qwen3-MoE", "ViT", "CLIP"])
def test_reverting_the_conversion_gives_the_names_and_shapes_on_disk(name, tmp_path):
    from safetensors.torch import load_file

    model = make(name, 0)
    model.save_pretrained(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    with torch.device("meta"):
        empty = ZOO[name][0](ZOO[name][1]())
    found = core_model_loading.revert_weight_conversion(empty, empty.state_dict())
    assert {key: tensor.shape for key, tensor in found.items() if key in stored} == {
        key: tensor.shape for key, tensor in stored.items()
    }


def test_classes_say_which_weights_are_tied_and_models_which_are_now():
    assert LlamaForCausalLM._tied_weights_keys == {"lm_head.weight": "model.embed_tokens.weight"}
    assert BertForMaskedLM._tied_weights_keys["cls.predictions.decoder.weight"] == "bert.embeddings.word_embeddings.weight"
    small = {"vocab_size": 8, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    for tied in (True, False):
        model = LlamaForCausalLM(LlamaConfig(tie_word_embeddings=tied, **small))
        assert ("lm_head.weight" in model.all_tied_weights_keys) == tied


def test_loading_to_meta_reports_what_is_missing_and_unexpected(tmp_path):
    from safetensors.torch import load_file, save_file

    make("Llama", 0).save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["extra"] = tensors.pop("model.norm.weight")
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    _, info = LlamaForCausalLM.from_pretrained(tmp_path, device_map="meta", output_loading_info=True)
    assert set(info["missing_keys"]) == {"model.norm.weight"} and set(info["unexpected_keys"]) == {"extra"}
