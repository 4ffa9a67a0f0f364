"""Members that are left out where the first is sure, against loops that read everything anew at each token."""

import itertools

import pytest
import torch
from transformers import AutoModelForCausalLM

from hf_compress import CompressionError, ParallelEnsemble
from hf_compress.ensembling.modelling.cache import CACHE
from hf_compress.ensembling.modelling.threshold import TokenAccount
from tests.ensembling.folders import sharper, texts, writers
from tests.ensembling.modelling.test_language import MASK, PROMPTS
from tests.tiny import tiny_llama

LEVEL = 0.3
HOW = {"do_sample": False, "pad_token_id": 0, "max_new_tokens": 14}


@pytest.fixture(scope="module")
def members():
    return writers()[0]


def made(members, threshold, **options):
    return ParallelEnsemble.from_members(members, names=["x", "y"], weights=[2, 1], threshold=threshold, **options)


def next_token(members, ids, mask, threshold=LEVEL, heat=1.0):
    """p of the next token, from all tokens anew, and whether the first member was sure."""
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    with torch.no_grad():
        logits = [member(ids, attention_mask=mask, position_ids=positions).logits[:, -1] for member in members]
    first, second = (logits[0] / heat).softmax(-1), logits[1].softmax(-1)
    sure = first.amax(-1) >= threshold
    return torch.where(sure[:, None], first, (2 * first + second) / 3), sure


def greedy(members, ids, mask, steps, **options):
    """Tokens, and (steps, B) where the first member was sure."""
    done, decided = torch.zeros(len(ids), dtype=torch.bool), []
    for _ in range(steps):
        shares, sure = next_token(members, ids, mask, **options)
        decided.append(sure)
        token = torch.where(done, 0, shares.argmax(-1))
        done |= token == 2
        ids = torch.cat([ids, token[:, None]], dim=1)
        mask = torch.cat([mask, torch.ones(len(ids), 1, dtype=mask.dtype)], dim=1)
    return ids, torch.stack(decided)


def watch(member):
    """Lengths of what a member reads from here on."""
    seen = []

    def note(own, args, kwargs):
        seen.append(kwargs["input_ids"].shape[1])

    return seen, member.register_forward_pre_hook(note, with_kwargs=True)


@pytest.mark.parametrize("rows", [slice(0, 3), slice(0, 1), slice(2, 3)])
def test_greedy_tokens_are_those_of_a_loop_without_caches(rows, members):
    ids, mask = PROMPTS[rows], MASK[rows]
    ensemble = made(members, LEVEL)
    seen, hook = watch(members[1])
    found = ensemble.generate(ids, attention_mask=mask, **HOW)
    hook.remove()
    expected, sure = greedy(members, ids, mask, found.shape[1] - ids.shape[1])
    assert torch.equal(found, expected)
    asked = ~sure.all(1)
    assert 0 < asked.sum() < len(asked)  # some passes without the other member, and some with it
    account = ensemble.account()
    assert account == TokenAccount(tokens=sure.numel(), unsure=int((~sure).sum()), passes=len(sure), asked=int(asked.sum()))
    assert account.share == pytest.approx((~sure).double().mean().item())
    assert account.share_of_passes == pytest.approx(asked.double().mean().item())
    # It read each token once, up to the last that it was asked about.
    assert len(seen) == asked.sum() and sum(seen) == ids.shape[1] + int(asked.nonzero().max())
    without = ensemble.generate(ids, attention_mask=mask, use_cache=False, **HOW)
    assert torch.equal(without, found)
    assert ensemble.account(restart=True).passes == 2 * account.passes
    with pytest.raises(CompressionError, match="no token was chosen"):
        ensemble.account().share  # noqa: B018


def test_temperatures_come_before_the_confidence(members):
    ensemble = made(members, LEVEL, temperatures=[1.5, 1.0])
    found = ensemble.generate(PROMPTS, attention_mask=MASK, **HOW)
    expected, sure = greedy(members, PROMPTS, MASK, found.shape[1] - 6, heat=1.5)
    assert torch.equal(found, expected) and ensemble.account().unsure == int((~sure).sum())


def test_samples_are_those_without_caches(members):
    ensemble = made(members, LEVEL, confidence="margin")
    drawn = []
    for uses in (True, False):
        torch.manual_seed(3)
        drawn.append(ensemble.generate(PROMPTS, attention_mask=MASK, **{**HOW, "do_sample": True}, use_cache=uses, top_k=0))
    assert torch.equal(*drawn)


def test_beams_find_what_all_continuations_say_is_best():
    pair = [sharper(tiny_llama(seed, vocab_size=12, eos_token_id=None)).eval() for seed in range(2)]
    ensemble = made(pair, 0.4)
    prompt = torch.tensor([[5, 7, 3]])
    scores, sures = {}, set()
    for words in itertools.product(range(12), repeat=2):
        ids, total = prompt, 0.0
        for word in words:
            shares, sure = next_token(pair, ids, torch.ones_like(ids), threshold=0.4)
            sures.add(bool(sure))
            total += float(shares[0, word].log())
            ids = torch.cat([ids, torch.tensor([[word]])], dim=1)
        scores[words] = total
    assert sures == {True, False}
    how = {"num_beams": 12, "num_return_sequences": 5, "eos_token_id": None, "length_penalty": 0.0}
    found = ensemble.generate(prompt, **{**HOW, "max_new_tokens": 2}, **how)
    assert [tuple(row) for row in found[:, 3:].tolist()] == sorted(scores, key=scores.get, reverse=True)[:5]


def test_beams_take_what_was_not_read_along(members):
    """Rows change places while the other member lags behind, and it reads what became of them."""
    ensemble = made(members, 0.2)
    how = {**HOW, "num_beams": 3, "eos_token_id": None, "attention_mask": MASK[1:2]}
    cached = ensemble.generate(PROMPTS[1:2], **how)
    account = ensemble.account()
    assert 3 < account.asked < account.passes - 3
    assert torch.equal(cached, ensemble.generate(PROMPTS[1:2], use_cache=False, **how))


def test_tokens_that_are_taken_back_before_they_were_read(members):
    """What assisted decoding does: several tokens at once, some of them withdrawn."""
    ensemble, ids = made(members, 0.0), PROMPTS[2:]
    with torch.no_grad():
        cache = ensemble(ids[:, :2], use_cache=True)[CACHE]
        ensemble.config.threshold = 1.0
        cache = ensemble(ids[:, 2:3], use_cache=True, past_key_values=cache)[CACHE]
        ensemble.config.threshold = 0.0
        cache = ensemble(ids[:, 3:], use_cache=True, past_key_values=cache)[CACHE]
        cache.crop(-2)
        ensemble.config.threshold = None
        rest = ensemble(ids[:, 4:], use_cache=True, past_key_values=cache)
        torch.testing.assert_close(rest.logits, ensemble(ids).logits[:, 4:])
        rest[CACHE].crop(-3)
        again = ensemble(ids[:, 3:], use_cache=True, past_key_values=rest[CACHE])
        torch.testing.assert_close(again.logits, ensemble(ids).logits[:, 3:])


def test_nobody_else_is_asked_at_0_and_everybody_at_1(members):
    seen, hook = watch(members[1])
    ensemble = made(members, 0.0)
    found = ensemble.generate(PROMPTS, attention_mask=MASK, **HOW)
    assert seen == [] and ensemble.account().share == 0
    hook.remove()
    assert torch.equal(found, members[0].generate(PROMPTS, attention_mask=MASK, **HOW))
    ensemble = made(members, 1.0)
    plain = made(members, None)
    assert torch.equal(
        ensemble.generate(PROMPTS, attention_mask=MASK, **HOW), plain.generate(PROMPTS, attention_mask=MASK, **HOW)
    )
    assert ensemble.account().share == 1
    with pytest.raises(CompressionError, match="all members are asked about every token"):
        plain.account()


def test_a_forward_with_labels_decides_place_by_place(members):
    ensemble, ids = made(members, LEVEL, combiner="hard_vote"), PROMPTS[2:]
    with torch.no_grad():
        first = members[0](ids).logits.log_softmax(-1)
        others = made(members, None, combiner="hard_vote")(ids).logits
        output = ensemble(ids, labels=ids)
    sure = first.exp().amax(-1) >= LEVEL
    assert 0 < sure.sum() < sure.numel()
    expected = torch.where(sure[..., None], first, others)
    torch.testing.assert_close(output.logits, expected)
    torch.testing.assert_close(output.loss, -expected[0, :-1].gather(-1, ids[0, 1:, None]).mean())


def test_a_first_member_that_answers_nan_is_named_or_left_out(members):
    broken = sharper(tiny_llama()).eval()
    broken.lm_head.weight.data[5] = float("nan")
    with pytest.raises(CompressionError, match="member 'x' answers NaN"):
        made([broken, members[1]], 0.0)(PROMPTS)
    with torch.no_grad():
        output = made([broken, members[1]], 0.0, on_nan="leave_out")(PROMPTS)
        torch.testing.assert_close(output.logits, members[1](PROMPTS).logits.log_softmax(-1))


def test_it_comes_back_with_its_threshold(members, tmp_path):
    ensemble = made(members, LEVEL, confidence="entropy")
    ensemble.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert (again.config.threshold, again.config.confidence) == (LEVEL, "entropy")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 1.5}, r"threshold=1.5: it must be in \[0, 1\]"),
        ({"threshold": float("nan")}, "threshold=nan"),
        ({"threshold": 0.5, "confidence": "entropie"}, "did you mean 'entropy'"),
    ],
)
def test_wrong_settings_are_refused(options, message, members):
    with pytest.raises(CompressionError, match=message):
        ParallelEnsemble.from_members(members, **options)


def test_a_threshold_for_other_heads_is_refused():
    with pytest.raises(CompressionError, match="loaded by AutoModelForSequenceClassification.*make a Cascade"):
        ParallelEnsemble.from_members(texts()[0], threshold=0.5)


def test_tokens_with_other_inputs_than_those_that_wait_are_refused(members):
    ensemble, ids = made(members, 0.0), PROMPTS[2:]
    cache = ensemble(ids[:, :3], use_cache=True)[CACHE]
    with pytest.raises(CompressionError, match="give the same inputs at every step"):
        ensemble(ids[:, 3:], position_ids=torch.tensor([[3, 4, 5]]), use_cache=True, past_key_values=cache)
