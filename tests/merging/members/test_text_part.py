"""A text model is merged into the text part of a vision-language model; the rest stays as it is."""

import pytest
import torch
import transformers as t
from safetensors.torch import load_file

from hf_compress import CompressionError, Member, Merge, TaskArithmetic, merge
from tests.checkpoints.test_tied import TEXT, qwen2_vl
from tests.merging.checkpoints import word_tokenizer

VISION = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4, "image_size": 28}


def qwen2(**changes):
    return t.Qwen2ForCausalLM(t.Qwen2Config(**{**TEXT, **changes}))


def llava():
    text, vision = t.LlamaConfig(**TEXT), t.CLIPVisionConfig(patch_size=14, **VISION)
    return t.LlavaForConditionalGeneration(t.LlavaConfig(text_config=text, vision_config=vision, image_token_index=60))


def llama():
    return t.LlamaForCausalLM(t.LlamaConfig(**TEXT))


def gemma3_text(tied=True):
    settings = {**TEXT, "head_dim": 8, "sliding_window": 8}
    return t.Gemma3ForCausalLM(t.Gemma3TextConfig(**settings, tie_word_embeddings=tied))


def gemma3():
    vision = {**VISION, "patch_size": 14}
    text = {**TEXT, "head_dim": 8, "sliding_window": 8}
    config = t.Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4, image_token_index=60)
    return t.Gemma3ForConditionalGeneration(config)


PAIRS = {"Qwen2-VL": (qwen2_vl, qwen2), "LLaVA": (llava, llama), "Gemma 3": (gemma3, gemma3_text)}


def saved(model, folder):
    model.save_pretrained(folder)
    return model


def loaded(folder, like):
    return type(like).from_pretrained(folder).state_dict()


@pytest.mark.parametrize("name", PAIRS)
def test_the_text_part_is_the_mean_and_the_rest_is_copied(name, tmp_path):
    whole, text = (saved(build(), tmp_path / folder) for build, folder in zip(PAIRS[name], ("whole", "text"), strict=True))
    job = Merge(members=[Member(str(tmp_path / "whole")), Member(str(tmp_path / "text"))])
    result = merge(job, tmp_path / "out", threads=1)
    assert (
        load_file(tmp_path / "out" / "model.safetensors").keys()
        == load_file(tmp_path / "whole" / "model.safetensors").keys()
    )
    found, before = loaded(tmp_path / "out", whole), whole.state_dict()
    inner = {f"model.language_model.{key.removeprefix('model.')}": value for key, value in text.state_dict().items()}
    head = inner.pop("model.language_model.lm_head.weight")
    for key, tensor in found.items():
        other = head if key == "lm_head.weight" else inner.get(key)
        expected = before[key] if other is None else (before[key] + other) / 2
        torch.testing.assert_close(tensor, expected, rtol=1e-6, atol=1e-8)
    assert inner.keys() <= found.keys()
    assert "nothing missing, nothing unexpected" in result.loads
    assert result.account.counts()["merged"] == len(load_file(tmp_path / "text" / "model.safetensors"))


def test_task_vectors_of_a_text_model_go_into_the_text_part(tmp_path):
    base, whole, text = qwen2(), qwen2_vl(), qwen2()
    for model, name in ((base, "base"), (whole, "whole"), (text, "text")):
        saved(model, tmp_path / name)
    word_tokenizer([f"w{number}" for number in range(60)]).save_pretrained(tmp_path / "whole")
    job = Merge(
        method=TaskArithmetic(),
        base=str(tmp_path / "base"),
        members=[Member(str(tmp_path / "whole"), weight=1.0), Member(str(tmp_path / "text"), weight=0.5)],
    )
    merge(job, tmp_path / "out", threads=1)
    found = loaded(tmp_path / "out", whole)
    for key, tensor in base.state_dict().items():
        inner = key if key == "lm_head.weight" else f"model.language_model.{key.removeprefix('model.')}"
        expected = whole.state_dict()[inner] + 0.5 * (text.state_dict()[key] - tensor)
        torch.testing.assert_close(found[inner], expected, rtol=1e-5, atol=1e-6)
    visual = {key: tensor for key, tensor in whole.state_dict().items() if ".visual." in key}
    assert visual and all(torch.equal(found[key], tensor) for key, tensor in visual.items())
    assert (tmp_path / "out" / "tokenizer.json").is_file()  # the whole model's


def test_a_text_model_that_does_not_fit_is_refused(tmp_path):
    saved(qwen2_vl(), tmp_path / "whole")
    for model, sentence in (
        (qwen2(num_hidden_layers=2), r"model.layers.1.* has no place in its text part"),
        (qwen2(intermediate_size=64), r"is \[.*\] there and \[.*\] here"),
        (llama(), r"is a qwen2_vl and .* a llama by their config.json"),
    ):
        saved(model, tmp_path / "text")
        job = Merge(members=[Member(str(tmp_path / "whole")), Member(str(tmp_path / "text"))])
        with pytest.raises(CompressionError, match=sentence):
            merge(job, tmp_path / "out", threads=1)
