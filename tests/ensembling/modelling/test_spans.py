"""Texts scored between common boundaries, against loops over single tokens."""

import itertools
import math

import pytest
import torch

from hf_compress import CompressionError, ParallelEnsemble
from hf_compress.ensembling.modelling.spans import score_spans, track
from tests.ensembling.speakers import KINDS, pair

TEXT = "the north wind is another thing near"


@pytest.fixture(scope="module", params=KINDS)
def made(request):
    members, tokenizers = pair(request.param)
    ensemble = ParallelEnsemble.from_members(members, processors=tokenizers, names=["x", "y"], weights=[2, 1])
    ensemble.processor.pad_token = ensemble.processor.eos_token
    return ensemble, members, tokenizers


def tokens_by_hand(member, tokenizer, text):
    """(end, log p) of every token by its own tokenizer; log p is None for one that has nothing before it."""
    encoded = tokenizer(text, return_offsets_mapping=True)
    found = []
    for k, (number, (begin, end)) in enumerate(zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)):
        score = None
        if k:
            with torch.no_grad():
                logits = member(torch.tensor([encoded["input_ids"][:k]])).logits[0, -1].double()
            score = float(logits.log_softmax(-1)[number])
        found.append((end if end > begin else 0, score))
    return found


def spans_by_hand(members, tokenizers, text):
    """{(begin, end): [log p of each member]}."""
    each = [tokens_by_hand(*facts, text) for facts in zip(members, tokenizers, strict=True)]
    common = sorted(set.intersection(*({end for end, _ in tokens} for tokens in each)))
    return {
        (a, b): [sum(score for end, score in tokens if a < end <= b) for tokens in each]
        for a, b in itertools.pairwise(common)
    }


def test_spans_are_the_products_of_the_tokens_between_common_boundaries(made):
    ensemble, members, tokenizers = made
    rows = [ensemble.processor(text)["input_ids"] for text in (TEXT, "the shore")]
    with torch.no_grad():
        found = score_spans(ensemble, ensemble.vocabulary, rows)
    for text, spans in zip((TEXT, "the shore"), found, strict=True):
        expected = spans_by_hand(members, tokenizers, text)
        assert spans.places == list(expected)
        torch.testing.assert_close(
            spans.scores, torch.tensor(list(expected.values()), dtype=torch.float64).T, rtol=1e-4, atol=1e-4
        )
    assert any(end - begin > 3 for begin, end in found[0].places)  # some longer than a token


def test_the_loss_is_a_mean_over_tokens_of_the_first_member(made):
    ensemble, members, tokenizers = made
    batch = ensemble.processor([TEXT, "the shore"], return_tensors="pt", padding=True)
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    with torch.no_grad():
        loss = ensemble(**batch, labels=labels).loss
    total, count = 0.0, 0
    for text in (TEXT, "the shore"):
        ends = [end for _, end in tokenizers[0](text, return_offsets_mapping=True)["offset_mapping"]]
        for (begin, end), scores in spans_by_hand(members, tokenizers, text).items():
            total -= math.log(sum(weight * math.exp(score) for weight, score in zip((2 / 3, 1 / 3), scores, strict=True)))
            count += sum(begin < one <= end for one in ends)
    assert float(loss) == pytest.approx(total / count, rel=1e-4)


def test_spans_count_whose_tokens_all_have_labels(made):
    ensemble, _, _ = made
    ids = torch.tensor([ensemble.processor(TEXT)["input_ids"]])
    spans = score_spans(ensemble, ensemble.vocabulary, ids.tolist())[0]
    cut = len(ensemble.processor("the north wind")["input_ids"])
    labels = ids.clone()
    labels[:, :cut] = -100
    kept = [k for k, (begin, _) in enumerate(spans.places) if begin >= len("the north wind")]
    assert 0 < len(kept) < len(spans.places)
    scores = spans.scores[:, kept].exp()
    total = -((2 * scores[0] + scores[1]) / 3).log().sum()
    loss = ensemble(input_ids=ids, labels=labels).loss
    ends = [end for _, end in ensemble.processor(TEXT, return_offsets_mapping=True)["offset_mapping"]]
    count = sum(any(a < end <= b for a, b in (spans.places[k] for k in kept)) for end in ends)
    assert float(loss.detach()) == pytest.approx(float(total.detach() / count), rel=1e-5)
    loss.backward()
    assert all(any(one.grad is not None for one in member.parameters()) for member in ensemble.members)
    ensemble.zero_grad()


def test_letters_that_are_cut_are_the_first_members_alone():
    members, tokenizers = pair()
    ensemble = ParallelEnsemble.from_members(members, processors=tokenizers)
    text, end = ensemble.processor("ñ the café")["input_ids"], ensemble.processor.eos_token_id
    assert ensemble.vocabulary.tokens[text[0]] == b"\xc3"
    whole = [track(ensemble.vocabulary, place, [*text, end, *text], start=False) for place in range(2)]
    assert [one.ends[-1] for one in whole] == [25, 25] and not whole[1].silent  # the end is known to both
    assert {12, 13} <= whole[0].bounds & whole[1].bounds
    half = [track(ensemble.vocabulary, place, text[1:], start=False) for place in range(2)]
    assert half[0].ends[0] == 1 and half[1].ends[0] > 1
    assert half[0].ends[-1] == half[1].ends[-1] == 11
    with pytest.raises(CompressionError, match="a text is not UTF-8"):
        track(ensemble.vocabulary, 1, [text[0], *text[2:]], start=False)


def test_special_tokens_that_some_members_do_not_know_are_not_scored():
    members, tokenizers = pair("pieces first")
    ensemble = ParallelEnsemble.from_members(members, processors=tokenizers)
    text, unknown = ensemble.processor("the end")["input_ids"], tokenizers[0].unk_token_id
    row = [*text, unknown, *text[1:]]
    spans = score_spans(ensemble, ensemble.vocabulary, [row])[0]
    assert track(ensemble.vocabulary, 1, row, start=False).silent == {8}
    assert (7, 8) not in spans.places and spans.places[-1][1] == 16 and any(begin == 8 for begin, _ in spans.places)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"combiner": {"name": "maximum"}}, "combiner='maximum'.*mean_probabilities"), ({"threshold": 0.5}, "threshold=0.5")],
)
def test_what_spans_have_no_meaning_for_is_refused(change, message):
    members, tokenizers = pair()
    ensemble = ParallelEnsemble.from_members(members, processors=tokenizers, **change)
    ids = torch.tensor([ensemble.processor("the end")["input_ids"]])
    with pytest.raises(CompressionError, match=message):
        ensemble(ids, labels=ids)


def test_labels_of_something_else_are_refused(made):
    ids = torch.tensor([made[0].processor("the end")["input_ids"]])
    with pytest.raises(CompressionError, match="labels must be input_ids, or -100"):
        made[0](ids, labels=ids + 1)
