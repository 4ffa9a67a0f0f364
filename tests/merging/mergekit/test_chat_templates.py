"""The named templates render what mergekit 0.1.5's answered for the same conversations."""

import pytest
from jinja2 import TemplateError
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from hf_compress.merging.mergekit.chat_templates import CHAT_TEMPLATES


def rendered(name, *turns, prompt=True):
    backend = Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1, "x": 2}, unk_token="x"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="x")
    roles = {"s": "system", "u": "user", "a": "assistant"}
    messages = [{"role": roles[turn[0]], "content": turn[2:]} for turn in turns]
    return tokenizer.apply_chat_template(
        messages, chat_template=CHAT_TEMPLATES[name], tokenize=False, add_generation_prompt=prompt
    )


LONG = ("s: S ", "u:a", "a:b", "u: c ")


def test_chatml():
    ends = "<|im_end|>\n"
    turns = [("system", " S "), ("user", "a"), ("assistant", "b"), ("user", " c ")]
    expected = "".join(f"<|im_start|>{role}\n{text}{ends}" for role, text in turns)
    assert rendered("chatml", *LONG) == expected + "<|im_start|>assistant\n"
    assert rendered("chatml", *LONG, prompt=False) == expected


def test_alpaca():
    expected = "S\n\n### Instruction:\na\n\n### Response:\nb\n\n### Instruction:\nc"
    assert rendered("alpaca", *LONG) == expected + "### Response:\n"
    assert rendered("alpaca", *LONG, prompt=False) == expected
    assert rendered("alpaca", "u:a", "a:b") == "\n\n### Instruction:\na\n\n### Response:\nb"
    assert rendered("alpaca", "s: S ") == "S\n\n### Response:\n"
    assert rendered("alpaca", "u:a", "s: S ", "u:b") == "S\n\n### Instruction:\na\n\n### Instruction:\nb### Response:\n"


def test_llama3():
    turns = [("system", "S"), ("user", "a"), ("assistant", "b"), ("user", "c")]
    expected = "<s>" + "".join(f"<|start_header_id|>{role}<|end_header_id|>\n\n{text}<|eot_id|>\n" for role, text in turns)
    assert rendered("llama3", *LONG) == expected + "<|start_header_id|>assistant<|end_header_id|>\n\n"
    assert rendered("llama3", *LONG, prompt=False) == expected


def test_mistral():
    assert rendered("mistral", *LONG) == "<s> [INST]  S \n\na [/INST] b</s> [INST]  c  [/INST]"
    assert rendered("mistral", "u:a", "a: b ", prompt=False) == "<s> [INST] a [/INST]  b </s>"
    assert rendered("mistral", "s: S ") == "<s>"
    for turns in (("u:a", "u:b"), ("a:x",), ("u:a", "s:S", "u:b")):
        with pytest.raises(TemplateError, match="Mistral models"):
            rendered("mistral", *turns)


def test_exaone_is_the_model_cards_and_not_indented():
    expected = "[|system|] S [|endofturn|]\n[|user|]a\n[|assistant|]b[|endofturn|]\n[|user|] c \n[|assistant|]"
    assert rendered("exaone", *LONG) == expected
    assert rendered("exaone", "u:a", prompt=False) == "[|system|][|endofturn|]\n[|user|]a\n"
