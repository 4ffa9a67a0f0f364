"""Tokens that several language models choose together, against loops without caches."""

import itertools

import pytest
import torch
from transformers import AutoModelForCausalLM, StaticCache

from hf_compress import CompressionError, ParallelEnsemble
from hf_compress.ensembling.modelling.cache import CACHE
from tests.ensembling.folders import sharper, writers
from tests.tiny import tiny_llama

PROMPTS = torch.tensor([[0, 0, 0, 9, 21, 5], [0, 33, 8, 40, 6, 12], [7, 50, 31, 22, 9, 18]])
MASK = (PROMPTS != 0).long()


@pytest.fixture(scope="module")
def pair():
    members, _ = writers()
    return members, ParallelEnsemble.from_members(members, weights=[2, 1])


def next_token(members, ids, mask):
    """p of the next token, from all tokens anew."""
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    with torch.no_grad():
        rows = [member(ids, attention_mask=mask, position_ids=positions).logits[:, -1].softmax(-1) for member in members]
    return (2 * rows[0] + rows[1]) / 3


def greedy(members, ids, mask, steps):
    done = torch.zeros(len(ids), dtype=torch.bool)
    for _ in range(steps):
        token = torch.where(done, 0, next_token(members, ids, mask).argmax(-1))
        done |= token == 2
        ids = torch.cat([ids, token[:, None]], dim=1)
        mask = torch.cat([mask, torch.ones(len(ids), 1, dtype=mask.dtype)], dim=1)
    return ids


def test_greedy_tokens_are_those_of_a_loop_without_caches(pair):
    members, made = pair
    found = made.generate(PROMPTS, attention_mask=MASK, max_new_tokens=14, do_sample=False, pad_token_id=0)
    expected = greedy(members, PROMPTS, MASK, 14)
    assert torch.equal(found, expected[:, : found.shape[1]])
    assert len({tuple(row) for row in found[:, 6:].tolist()}) == 3
    alone = made.generate(PROMPTS[2:], max_new_tokens=14, do_sample=False, pad_token_id=0)
    assert torch.equal(alone[0], found[2])
    without = made.generate(
        PROMPTS, attention_mask=MASK, max_new_tokens=14, do_sample=False, pad_token_id=0, use_cache=False
    )
    assert torch.equal(without, found)


def test_beams_find_what_all_continuations_say_is_best():
    """With as many beams as there are tokens, two steps of beam search leave nothing out."""
    members = [sharper(tiny_llama(seed, vocab_size=12, eos_token_id=None)).eval() for seed in range(2)]
    made = ParallelEnsemble.from_members(members, weights=[2, 1])
    prompt = torch.tensor([[5, 7, 3]])
    scores = {}
    for words in itertools.product(range(12), repeat=2):
        ids, total = prompt, 0.0
        for word in words:
            total += float(next_token(members, ids, torch.ones_like(ids))[0, word].log())
            ids = torch.cat([ids, torch.tensor([[word]])], dim=1)
        scores[words] = total
    found = made.generate(
        prompt,
        max_new_tokens=2,
        num_beams=12,
        num_return_sequences=5,
        do_sample=False,
        pad_token_id=0,
        eos_token_id=None,
        length_penalty=0.0,
    )
    best = sorted(scores, key=scores.get, reverse=True)[:5]
    assert [tuple(row) for row in found[:, 3:].tolist()] == best


def test_samples_come_from_the_combined_distribution(pair):
    members, made = pair
    prompt = PROMPTS[2:].repeat(3000, 1)
    torch.manual_seed(0)
    drawn = made.generate(prompt, max_new_tokens=1, do_sample=True, top_k=0, pad_token_id=0)[:, -1]
    expected = next_token(members, PROMPTS[2:], MASK[2:])[0]
    seen = torch.bincount(drawn, minlength=64) / len(drawn)
    # Three standard deviations of a share of 3000 draws, for 64 tokens.
    assert ((seen - expected).abs() <= 4 * (expected * (1 - expected) / 3000).sqrt() + 1e-3).all()


def test_the_loss_is_that_of_the_combined_distribution(pair):
    members, made = pair
    ids = PROMPTS[2:]
    with torch.no_grad():
        rows = [member(ids).logits.softmax(-1) for member in members]
        output = made(ids, labels=ids)
    combined = ((2 * rows[0] + rows[1]) / 3).log()
    torch.testing.assert_close(output.logits, combined)
    torch.testing.assert_close(output.loss, -combined[0, :-1].gather(-1, ids[0, 1:, None]).mean())


def test_it_comes_back_with_its_way_of_generating(pair, tmp_path):
    _, made = pair
    made.generation_config.max_new_tokens = 5
    made.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert again.generation_config.max_new_tokens == 5
    assert torch.equal(
        again.generate(PROMPTS, attention_mask=MASK, do_sample=False, pad_token_id=0),
        made.generate(PROMPTS, attention_mask=MASK, do_sample=False, pad_token_id=0),
    )
    made.generation_config.max_new_tokens = None


def test_vocabularies_padded_to_other_sizes_are_cut_to_what_all_have():
    members = [tiny_llama(0).eval(), tiny_llama(1, vocab_size=72).eval()]
    output = ParallelEnsemble.from_members(members)(PROMPTS)
    assert output.logits.shape == (3, 6, 64)
    torch.testing.assert_close(output.logits.exp().sum(-1), torch.ones(3, 6))


@pytest.mark.parametrize("name", ["past_key_values", "cache"])
def test_a_text_goes_on_from_the_cache_by_both_of_its_names(name, pair):
    _, made = pair
    ids = PROMPTS[2:]
    with torch.no_grad():
        first = made(ids[:, :4], use_cache=True)
        rest = made(ids[:, 4:], use_cache=True, **{name: first[CACHE]})
        torch.testing.assert_close(rest.logits, made(ids).logits[:, 4:])
    assert rest[CACHE].get_seq_length() == 6


def test_other_kinds_of_caches_are_refused(pair):
    members, made = pair
    with pytest.raises(CompressionError, match="cache_implementation='static'"):
        made.generate(PROMPTS, max_new_tokens=2, cache_implementation="static")
    cache = members[0](PROMPTS, use_cache=True)[CACHE]
    with pytest.raises(CompressionError, match="a DynamicCache is for one model"):
        made(PROMPTS, **{CACHE: cache}, use_cache=True)
    with pytest.raises(CompressionError, match="a StaticCache is for one model"):
        made(PROMPTS, **{CACHE: StaticCache(config=members[0].config, max_cache_len=8)}, use_cache=True)
