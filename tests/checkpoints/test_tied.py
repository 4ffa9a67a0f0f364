"""Which weights are shared is what transformers decides, for composite configs too."""

import json
import shutil

import pytest
import torch
import transformers as t
from safetensors.torch import load_file, save_file

from hf_compress import Member, Merge, merge
from hf_compress.checkpoints.source import open_source
from hf_compress.checkpoints.special_floats import decode_floats
from hf_compress.checkpoints.tied import tied_tensors
from tests.merging.library import StoredSource, build_default, shared_groups, tying_classes

SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4}
TEXT = {"vocab_size": 64, "num_key_value_heads": 2, **SMALL}
TOKENS = {"image_token_id": 60, "video_token_id": 61, "vision_start_token_id": 62, "vision_end_token_id": 63}


def qwen2_vl(**settings):
    text = {**TEXT, "rope_scaling": {"type": "mrope", "mrope_section": [1, 1, 2]}}
    vision = {"depth": 1, "embed_dim": 32, "hidden_size": 32, "num_heads": 4, "mlp_ratio": 2, "patch_size": 14}
    config = t.Qwen2VLConfig(text_config=text, vision_config=vision, **TOKENS, **settings)
    return t.Qwen2VLForConditionalGeneration(config)


def qwen3_vl_moe():
    text = dict(TEXT, head_dim=8, num_experts=2, num_experts_per_tok=1, moe_intermediate_size=16)
    text["rope_scaling"] = {"rope_type": "default", "mrope_section": [1, 1, 2]}
    vision = {"depth": 1, "hidden_size": 32, "intermediate_size": 48, "num_heads": 4, "out_hidden_size": 32}
    vision |= {"patch_size": 14, "num_position_embeddings": 16, "deepstack_visual_indexes": [0]}
    return t.Qwen3VLMoeForConditionalGeneration(t.Qwen3VLMoeConfig(text_config=text, vision_config=vision, **TOKENS))


def mean_of(make, folder):
    """Two models saved and merged; the tensors of both and of the result."""
    for name in ("a", "b"):
        make().save_pretrained(folder / name)
    merge(Merge(members=[Member(str(folder / "a")), Member(str(folder / "b"))]), folder / "out", threads=1)
    return [load_file(folder / name / "model.safetensors") for name in ("a", "b", "out")]


def assert_mean(a, b, out):
    """Equal but for the last bit of fp32."""
    assert a.keys() == out.keys()
    for name, tensor in out.items():
        torch.testing.assert_close(tensor, (a[name] + b[name]) / 2, rtol=1e-6, atol=1e-8)


def test_a_vision_language_model_whose_text_config_has_no_tie_flag_is_merged(tmp_path):
    assert_mean(*mean_of(qwen2_vl, tmp_path))


def test_a_flat_config_of_an_older_release_is_merged(tmp_path):
    for name in ("a", "b"):
        qwen2_vl().save_pretrained(tmp_path / name)
        file = tmp_path / name / "config.json"
        config = json.loads(file.read_text())
        text = config.pop("text_config")
        file.write_text(json.dumps({**text, **config}))
    merge(Merge(members=[Member(str(tmp_path / "a")), Member(str(tmp_path / "b"))]), tmp_path / "out", threads=1)
    assert_mean(*(load_file(tmp_path / name / "model.safetensors") for name in ("a", "b", "out")))


def test_the_whole_configs_flag_wins_over_the_text_configs(tmp_path):
    a, b, out = mean_of(qwen3_vl_moe, tmp_path)
    assert_mean(a, b, out)
    assert not torch.equal(out["lm_head.weight"], out["model.language_model.embed_tokens.weight"])


def llama(folder, head):
    """A checkpoint whose config ties, and that stores its head: a copy, or another."""
    model = t.LlamaForCausalLM(t.LlamaConfig(**TEXT, tie_word_embeddings=True))
    model.save_pretrained(folder)
    tensors = load_file(folder / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"] * (1 if head == "copy" else 2)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return tensors


def test_stored_tensors_that_differ_are_not_tied_as_in_from_pretrained(tmp_path):
    llama(tmp_path / "copy", "copy")
    llama(tmp_path / "other", "other")
    sources = {name: open_source(tmp_path / name, name) for name in ("copy", "other")}
    tied = {"lm_head.weight": "model.embed_tokens.weight"}
    assert tied_tensors([sources["copy"]]) == tied
    assert tied_tensors([sources["other"]]) == {}
    assert tied_tensors([sources["copy"], sources["other"]]) == {}
    for name, shared in (("copy", True), ("other", False)):
        model = t.LlamaForCausalLM.from_pretrained(tmp_path / name)
        assert (model.lm_head.weight is model.model.embed_tokens.weight) is shared


def test_heads_that_differ_from_their_embeddings_are_merged_as_any_tensor(tmp_path):
    a, b = llama(tmp_path / "a", "other"), llama(tmp_path / "b", "other")
    merge(Merge(members=[Member(str(tmp_path / "a")), Member(str(tmp_path / "b"))]), tmp_path / "out", threads=1)
    assert_mean(a, b, load_file(tmp_path / "out" / "model.safetensors"))
    loaded = t.LlamaForCausalLM.from_pretrained(tmp_path / "out")
    torch.testing.assert_close(loaded.lm_head.weight, (a["lm_head.weight"] + b["lm_head.weight"]) / 2)


def test_a_duplicate_that_the_base_does_not_store_is_left_out(tmp_path):
    llama(tmp_path / "b", "copy")
    shutil.copytree(tmp_path / "b", tmp_path / "a")
    model = t.LlamaForCausalLM.from_pretrained(tmp_path / "a")
    model.save_pretrained(tmp_path / "a")
    sources = [open_source(tmp_path / name, name) for name in ("a", "b")]
    assert "lm_head.weight" not in sources[0].infos
    assert tied_tensors(sources) == {"lm_head.weight": "model.embed_tokens.weight"}


SAMPLE = (
    *("Qwen2VLForConditionalGeneration", "Qwen3VLMoeForConditionalGeneration", "Mistral3ForConditionalGeneration"),
    *("BridgeTowerForMaskedLM", "FlavaForPreTraining", "T5ForConditionalGeneration", "DFineForObjectDetection"),
)


def check_flags(name, folder):
    """The names of one parameter are stored once; False where the class does not build from its default config."""
    model = build_default(name)
    if model is None:
        return False
    model.config.architectures = [name]
    model.config.save_pretrained(folder)
    config = decode_floats(json.loads((folder / "config.json").read_text()))
    tied = tied_tensors([StoredSource(model, config, equal=True)])
    groups = shared_groups(model)
    stored = StoredSource(model, config, equal=True).infos
    for names in groups:
        kept = [each for each in names if each in stored and each not in tied]
        assert len(kept) <= 1 or not names & set(stored), f"{name}: {kept}"
    assert len(tied) == sum(max(len(names) - 1, 0) for names in groups), f"{name}: {tied}, {groups}"
    assert tied_tensors([StoredSource(model, config, equal=False)]) == {}
    return True


@pytest.mark.parametrize("name", SAMPLE)
def test_shared_weights_are_those_of_the_built_model(name, tmp_path):
    assert check_flags(name, tmp_path)


@pytest.mark.slow
def test_shared_weights_of_every_class_are_those_of_the_built_model(tmp_path):
    names = tying_classes()
    failed, built = {}, 0
    for name in names:
        try:
            built += check_flags(name, tmp_path / name)
        except Exception as error:
            failed[name] = f"{type(error).__name__}: {error}"[:200]
    assert not failed, json.dumps(failed, indent=1)
    assert built >= 0.9 * len(names), (built, len(names))
