"""Members with different tokenizers, against loops that tokenize and read everything anew at each token."""

import pytest
import torch

from hf_compress import CompressionError, ParallelEnsemble
from hf_compress.ensembling.modelling.union_language import UnionEnsembleForCausalLM
from tests.ensembling.speakers import KINDS, byte_tokenizer, names, next_by_hand, pair, speaker
from tests.tiny import tiny_gpt2, tiny_tokenizer

PROMPTS = ["the other north", "the", "a café is"]
STEPS = 7


@pytest.fixture(scope="module", params=KINDS)
def made(request):
    members, tokenizers = pair(request.param)
    ensemble = ParallelEnsemble.from_members(members, processors=tokenizers, names=["x", "y"], weights=[2, 1])
    return ensemble, members, tokenizers


def inputs(ensemble, texts=PROMPTS):
    tokenizer = ensemble.processor
    tokenizer.pad_token = tokenizer.eos_token
    return tokenizer(texts, return_tensors="pt", padding=True)


def unwanted(ensemble):
    """Special tokens that the first member has beside the end: by hand they are left out."""
    tokens, first = ensemble.vocabulary.tokens, ensemble.vocabulary.spellings[0]
    return [number for number, piece in enumerate(tokens) if piece is None and number not in first.eos]


def pieces_of(ensemble, ids):
    return [ensemble.vocabulary.tokens[number] for number in ids]


def greedy_by_hand(members, tokenizers, text, steps, **options):
    pieces = [text.encode()]
    for _ in range(steps):
        mixed = next_by_hand(members, tokenizers, pieces, (2 / 3, 1 / 3), **options)
        best = max(mixed, key=mixed.get)
        pieces.append(best if not isinstance(best, tuple) else best[0])
        if best is None:
            break
    return pieces[1:]


def test_the_union_has_every_token_once_and_those_of_the_first_keep_their_ids(made):
    ensemble, _, (first, second) = made
    assert type(ensemble) is UnionEnsembleForCausalLM
    own = [names(first)[first.convert_ids_to_tokens(k)] for k in range(len(first))]
    assert ensemble.vocabulary.tokens[: len(first)] == own
    new = ensemble.vocabulary.tokens[len(first) :]
    others = set(names(second).values()) - set(own) - {None}
    assert len(new) == len(set(new)) and set(new) <= others
    # A tokenizer of pieces can write no half letters but single bytes, which it has.
    assert all(len(piece) > 1 for piece in others - set(new))
    assert ensemble.config.vocab_size == len(ensemble.vocabulary.tokens) == len(ensemble.processor)


def test_its_tokenizer_encodes_as_the_first_and_decodes_all(made):
    ensemble, _, (first, second) = made
    for text in (*PROMPTS, "another day  is near, \n é☃", " the"):
        ids = ensemble.processor(text)["input_ids"]
        # A letter that the first has no token for may be one of the others' tokens.
        assert ids == first(text)["input_ids"] or not text.isascii()
        for place, tokenizer in enumerate((first, second)):
            assert ensemble.vocabulary.read(place, ids) == (tokenizer(text)["input_ids"], True)
    start = len(first)
    for number, piece in enumerate(ensemble.vocabulary.tokens[start:], start=start):
        if piece.isascii():
            assert ensemble.processor.decode([first("a")["input_ids"][-1], number]).endswith(piece.decode())


def test_next_tokens_are_those_found_by_hand(made):
    ensemble, members, tokenizers = made
    with torch.no_grad():
        found = ensemble(**inputs(ensemble), logits_to_keep=1).logits[:, 0].exp()
    for row, text in zip(found, PROMPTS, strict=True):
        mixed = next_by_hand(members, tokenizers, [text.encode()], (2 / 3, 1 / 3))
        for number, piece in enumerate(ensemble.vocabulary.tokens):
            if number in unwanted(ensemble):
                continue
            twice = (piece, "a byte") if (piece, "a byte") in mixed else None
            first = ensemble.processor.convert_ids_to_tokens(number)
            expected = mixed[twice] if twice and first.startswith("<0x") else mixed[piece]
            assert float(row[number]) == pytest.approx(expected, abs=2e-5)
        assert float(row.sum()) == pytest.approx(1, abs=1e-5)


def test_greedy_text_is_that_of_a_loop_without_caches_also_in_a_batch(made):
    ensemble, members, tokenizers = made
    how = {"max_new_tokens": STEPS, "do_sample": False, "suppress_tokens": unwanted(ensemble) or None}
    batch = inputs(ensemble)
    found = ensemble.generate(**batch, **how)
    written = found[:, batch["input_ids"].shape[1] :]
    seen = []
    for row, text in zip(written.tolist(), PROMPTS, strict=True):
        expected = greedy_by_hand(members, tokenizers, text, STEPS)
        assert pieces_of(ensemble, row)[: len(expected)] == expected
        seen += [piece for piece in expected if piece is not None]
    assert any(byte > 127 for piece in seen for byte in piece)  # half letters
    assert torch.equal(ensemble.generate(**batch, **how, use_cache=False), found)
    alone = ensemble.generate(**inputs(ensemble, PROMPTS[1:2]), **how)
    count = alone.shape[1] - inputs(ensemble, PROMPTS[1:2])["input_ids"].shape[1]
    assert alone[0, -count:].tolist() == written[1, :count].tolist()


def test_samples_and_beams_are_those_without_caches(made):
    ensemble, _, _ = made
    batch = inputs(ensemble, PROMPTS[:2])
    for how in ({"do_sample": True, "top_k": 0}, {"num_beams": 3, "do_sample": False}):
        drawn = []
        for uses in (True, False):
            torch.manual_seed(1)
            drawn.append(ensemble.generate(**batch, max_new_tokens=6, use_cache=uses, **how))
        assert torch.equal(*drawn)


def test_lengths_ends_and_strings_to_stop_at_are_as_elsewhere(made):
    ensemble, _, _ = made
    batch = inputs(ensemble, PROMPTS[:1])
    length = batch["input_ids"].shape[1]
    plain = ensemble.generate(**batch, max_new_tokens=STEPS, do_sample=False, suppress_tokens=unwanted(ensemble) or None)
    # The third token becomes an end, as a text that the model ends would have it.
    third = int(plain[0, length + 2])
    ended = ensemble.generate(**batch, max_new_tokens=STEPS, do_sample=False, eos_token_id=third)
    later = ensemble.generate(**batch, max_new_tokens=STEPS, do_sample=False, eos_token_id=third, min_new_tokens=5)
    assert ended.shape[1] <= length + 3 and later.shape[1] >= length + 5
    letters = [b"".join(one or b"" for one in pieces_of(ensemble, plain[0, length : length + k])) for k in range(STEPS + 1)]
    wanted = letters[-1].decode(errors="ignore")[-1]
    first = next(k for k, text in enumerate(letters) if wanted.encode() in text)
    stopped = ensemble.generate(
        **batch,
        max_new_tokens=STEPS,
        do_sample=False,
        suppress_tokens=unwanted(ensemble) or None,
        stop_strings=[wanted],
        tokenizer=ensemble.processor,
    )
    assert torch.equal(stopped, plain[:, : length + first])


def test_a_threshold_leaves_the_others_out(made):
    ensemble, members, _ = made
    batch = inputs(ensemble)
    plain = ensemble.generate(**batch, max_new_tokens=5, do_sample=False)
    try:
        ensemble.config.threshold = 1.0
        assert torch.equal(ensemble.generate(**batch, max_new_tokens=5, do_sample=False), plain)
        ensemble.account(restart=True)
        ensemble.config.threshold = 0.6
        found = ensemble.generate(**batch, max_new_tokens=STEPS, do_sample=False)
        account = ensemble.account(restart=True)
        assert 0 < account.unsure < account.tokens
        assert torch.equal(found, ensemble.generate(**batch, max_new_tokens=STEPS, do_sample=False, use_cache=False))
        ensemble.config.threshold = 0.0
        seen = []
        hook = members[1].register_forward_pre_hook(lambda *_: seen.append(1))
        ensemble.generate(**batch, max_new_tokens=3, do_sample=False)
        hook.remove()
        assert seen == []
    finally:
        ensemble.config.threshold = None


def test_two_tokenizers_that_are_one_give_what_one_gives():
    """Without merges every sequence of tokens is the one that the text has."""
    one, other = byte_tokenizer(size=257), byte_tokenizer(size=257)
    other.add_tokens(["<|name|>"], special_tokens=True)  # so that it is another one
    members = [speaker(one), speaker(one, 1, tiny_gpt2)]
    union = ParallelEnsemble.from_members(members, processors=[one, other], weights=[2, 1])
    plain = ParallelEnsemble.from_members(members, processors=[one, one], weights=[2, 1])
    assert type(plain) is not type(union) and type(union) is UnionEnsembleForCausalLM
    batch = inputs(union)
    how = {"max_new_tokens": STEPS, "do_sample": False, "pad_token_id": one.eos_token_id}
    assert torch.equal(union.generate(**batch, **how), plain.generate(**batch, **how))
    with torch.no_grad():
        torch.testing.assert_close(union(batch["input_ids"][2:]).logits[..., :257], plain(batch["input_ids"][2:]).logits)


@pytest.mark.parametrize("combiner", ["hard_vote", "maximum"])
def test_other_combiners_see_zeros_where_a_member_has_no_token(combiner):
    members, tokenizers = pair()
    ensemble = ParallelEnsemble.from_members(members, processors=tokenizers, combiner=combiner)
    with torch.no_grad():
        found = ensemble(**inputs(ensemble), logits_to_keep=1).logits
    torch.testing.assert_close(found.exp().sum(-1), torch.ones(3, 1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"combiner": "mean_logits"}, "combiner='mean_logits'.*impossible for all; take one of mean_probabilities"),
        ({"processors": [byte_tokenizer(), tiny_tokenizer()]}, "member 'y' has a WordLevel tokenizer"),
        ({"processors": [byte_tokenizer(), None]}, "member 'y' has no tokenizer"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    members, tokenizers = pair()
    with pytest.raises(CompressionError, match=message):
        ParallelEnsemble.from_members(members, names=["x", "y"], **{"processors": tokenizers, **options})


def test_texts_that_are_too_long_and_other_caches_are_refused():
    members, tokenizers = pair()
    ensemble = ParallelEnsemble.from_members(members, processors=tokenizers, names=["x", "y"])
    with pytest.raises(CompressionError, match="member 'x' reads .* tokens of a text, and has places for 128"):
        ensemble(**inputs(ensemble, ["xyz " * 60]), logits_to_keep=1)
    with pytest.raises(CompressionError, match="give input_ids, one token or more"):
        ensemble(inputs_embeds=torch.zeros(1, 2, 32))


@pytest.mark.parametrize("number", [-1, 10**6])
def test_ids_of_no_token_are_refused(number):
    members, tokenizers = pair()
    ensemble = ParallelEnsemble.from_members(members, processors=tokenizers, names=["x", "y"])
    ids = torch.tensor([[number, 5]])
    with pytest.raises(CompressionError, match=f"input_ids: {number} is no token of the"):
        ensemble(ids)
    padded = ensemble(ids, attention_mask=torch.tensor([[0, 1]]), logits_to_keep=1).logits
    assert torch.equal(padded, ensemble(ids[:, 1:]).logits)
