"""Perplexity of documents, against one forward pass for every token with the same context."""

import math
import os
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from hf_compress._errors import CompressionError
from hf_compress.evaluation.sliding_window import SlidingWindow, begin_of, slide
from tests.tiny import tiny_gpt2, tiny_llama, tiny_tokenizer

REAL = Path(os.environ.get("HF_COMPRESS_DATA", Path(__file__).parents[2] / "data")) / "models" / "stories260K"
TEXTS = ["once upon a time, there was a cat.", "", "no", "a", "the cat ran far away from home and sat on a mat " * 3]


def brute_force(model, tokenizer, text, length, stride):
    """(nll, tokens): each token alone, behind what its window has of the text; windows as transformers' page moves them."""
    ids = [tokenizer.bos_token_id, *tokenizer(text, add_special_tokens=False)["input_ids"]]
    total, count = 0.0, 0
    for place in range(1, len(ids)):
        begin = 0
        while begin + length <= place:  # the first window that reads the token is the one that predicts it
            begin += stride
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids[begin:place]])).logits[0, -1].double()
        total -= logits.log_softmax(-1)[ids[place]].item()
        count += 1
    return total, count


@pytest.mark.parametrize(("length", "stride"), [(2, 1), (16, 1), (16, 8), (16, 15), (9, 4), (64, 32)])
@pytest.mark.parametrize("make", [tiny_llama, tiny_gpt2])
def test_it_is_that_of_a_forward_pass_for_every_token(make, length, stride):
    model, tokenizer, found = make().eval(), tiny_tokenizer(), {}
    for batch_size in (1, 5):
        found = slide(model, tokenizer, TEXTS, SlidingWindow(length=length, stride=stride), batch_size)
        expected = [brute_force(model, tokenizer, text, length, stride) for text in TEXTS if text]
        # fp32 logits against the same in fp64, and other lengths of matrix products.
        assert found.nll == pytest.approx([nll for nll, _ in expected], rel=1e-5)
        assert found.tokens.tolist() == [count for _, count in expected]
    total, tokens = found.nll.sum(), found.tokens.sum()
    expected = {"window_perplexity": math.exp(total / tokens), "bits_per_byte": total / math.log(2) / sum(map(len, TEXTS))}
    assert found.metrics() == pytest.approx(expected)


@pytest.mark.parametrize("length", [2, 3, 8, 9])
def test_every_place_but_the_first_is_predicted_once_with_enough_before_it(length):
    for stride in range(1, length):
        for number in range(1, 40):
            windows = list(SlidingWindow(length=length, stride=stride).windows(number))
            places = [place for _, end, first in windows for place in range(first, end)]
            assert places == list(range(1, number))
            for begin, end, first in windows:
                assert end - begin <= length and first > begin
                assert begin == 0 or first - begin >= length - stride


def test_bytes_are_those_of_the_text_and_not_of_its_characters():
    tokenizer = tiny_tokenizer()
    found = slide(tiny_llama().eval(), tokenizer, ["äöü", "abc"], SlidingWindow(length=8), 2)
    assert found.num_bytes.tolist() == [6, 3] and found.tokens.tolist() == [3, 3]
    assert found.begin == "<s>" and "6 tokens, 9 bytes of 2 documents, each behind '<s>'" in found.describe(SlidingWindow())


def test_without_a_beginning_the_end_of_a_text_stands_before_the_next():
    tokenizer = tiny_tokenizer()
    tokenizer.bos_token = None
    assert begin_of(tokenizer) == tokenizer.eos_token_id
    with pytest.raises(CompressionError, match="window: .* has no token that begins or ends a text"):
        begin_of(PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer))


@pytest.mark.parametrize("wrong", [{"length": 1}, {"length": 8, "stride": 8}, {"length": 8, "stride": 0}])
def test_windows_that_could_not_predict_are_refused(wrong):
    with pytest.raises(CompressionError, match="from one before it|must lie between 1 and length - 1 = 7"):
        SlidingWindow(**wrong)


def test_text_without_a_token_is_refused():
    with pytest.raises(CompressionError, match="no document has a token"):
        slide(tiny_llama().eval(), tiny_tokenizer(), [""], SlidingWindow(length=8), 2)


@pytest.mark.skipif(not REAL.is_dir(), reason="needs data/models/stories260K: scripts/fetch_inputs.py stories260K")
def test_a_real_model_gives_what_single_passes_give():
    model, tokenizer = AutoModelForCausalLM.from_pretrained(REAL).eval(), AutoTokenizer.from_pretrained(REAL)
    text = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park with her red ball."
    found = slide(model, tokenizer, [text], SlidingWindow(length=16, stride=5), 4)
    nll, tokens = brute_force(model, tokenizer, text, 16, 5)
    assert found.tokens.tolist() == [tokens] and found.num_bytes.tolist() == [len(text)]
    assert found.nll == pytest.approx([nll], rel=1e-5)
    whole = slide(model, tokenizer, [text], SlidingWindow(length=512), 1)
    assert whole.metrics()["window_perplexity"] < found.metrics()["window_perplexity"] < 40
