"""Likelihoods of whole texts, whatever the members' tokenizers."""

import math

import pytest
import torch
from datasets import Dataset
from transformers import DataCollatorForLanguageModeling, Trainer, TrainingArguments

from hf_compress import CompressionError, ParallelEnsemble, mixture_weights, text_log_likelihood
from tests.ensembling.folders import texts as classifiers
from tests.ensembling.folders import writers
from tests.ensembling.speakers import pair, speaker

TEXTS = ["the north wind", "another café is near the shore", "no one"]


@pytest.fixture(scope="module")
def made():
    members, tokenizers = pair()
    return ParallelEnsemble.from_members(members, processors=tokenizers, names=["x", "y"]), members, tokenizers


def test_each_members_nats_are_those_of_its_own_tokens(made):
    ensemble, members, tokenizers = made
    found = text_log_likelihood(ensemble, TEXTS, batch_size=2)
    for own, member, tokenizer in zip(found.member_nats, members, tokenizers, strict=True):
        for nats, text in zip(own, TEXTS, strict=True):
            start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
            ids = torch.tensor([[start, *tokenizer(text)["input_ids"]]])
            with torch.no_grad():
                logits = member(ids).logits.double().log_softmax(-1)
            assert float(nats) == pytest.approx(-float(logits[0, :-1].gather(-1, ids[0, 1:, None]).sum()), rel=1e-4)
    assert found.num_bytes.tolist() == [14, 31, 6] and found.num_words.tolist() == [3, 6, 2]
    together, each = found.perplexity_per_word()
    assert together == pytest.approx(math.exp(float(found.nats.sum()) / 11))
    assert each[1] == pytest.approx(math.exp(float(found.member_nats[1].sum()) / 11))
    assert found.bits_per_byte()[0] == pytest.approx(float(found.nats.sum()) / 51 / math.log(2))
    # Jensen's inequality, and a member alone is that member.
    assert (found.nats <= found.member_nats.mean(0) + 1e-9).all()
    alone = text_log_likelihood(ensemble, TEXTS, weights=[0, 1])
    torch.testing.assert_close(alone.nats, found.member_nats[1])


def test_weights_are_learned_on_the_spans(made):
    ensemble, _, _ = made
    found = text_log_likelihood(ensemble, TEXTS)
    torch.testing.assert_close(found.spans.sum(1), -found.member_nats.sum(1))
    weights, _ = mixture_weights(found.spans)
    learned = text_log_likelihood(ensemble, TEXTS, weights=weights.tolist())
    best = min(float(found.nats.sum()), *found.member_nats.sum(1).tolist())
    assert float(learned.nats.sum()) <= best + 1e-4


def test_of_one_tokenizer_the_spans_are_its_tokens():
    members, tokenizers = pair()
    twins = [members[0], speaker(tokenizers[0], 7)]
    ensemble = ParallelEnsemble.from_members(twins, processors=[tokenizers[0]] * 2, weights=[1, 3])
    found = text_log_likelihood(ensemble, TEXTS[:1])
    ids = torch.tensor([[tokenizers[0].eos_token_id, *tokenizers[0](TEXTS[0])["input_ids"]]])
    with torch.no_grad():
        logits = ensemble(ids).logits.double()
    assert float(found.nats) == pytest.approx(-float(logits[0, :-1].gather(-1, ids[0, 1:, None]).sum()), rel=1e-4)


def test_a_trainer_measures_the_loss_of_spans(made, tmp_path):
    ensemble, _, _ = made
    tokenizer = ensemble.processor
    tokenizer.pad_token = "<|end|>"
    args = TrainingArguments(str(tmp_path), use_cpu=True, report_to="none", disable_tqdm=True, per_device_eval_batch_size=1)
    collator = DataCollatorForLanguageModeling(tokenizer, mlm=False)
    data = Dataset.from_list([dict(tokenizer(text)) for text in TEXTS])
    found = Trainer(model=ensemble, args=args, eval_dataset=data, data_collator=collator).evaluate()["eval_loss"]
    with torch.no_grad():
        losses = [float(ensemble(ids, labels=ids).loss) for ids in (torch.tensor([row["input_ids"]]) for row in data)]
    assert found == pytest.approx(sum(losses) / 3, rel=1e-5)


@pytest.mark.parametrize(
    ("texts", "options", "message"),
    [
        ([], {}, "no texts to score"),
        (["a", ""], {}, "text 1 is empty"),
        (["a"], {"batch_size": 0}, "batch_size=0"),
        (["a"], {"weights": [1.0]}, "1 weights for 2 members"),
        (["the north " * 90], {}, "has places for 128; give less text"),
    ],
)
def test_what_cannot_be_scored_is_refused(texts, options, message, made):
    with pytest.raises(CompressionError, match=message):
        text_log_likelihood(made[0], texts, **options)


def test_other_ensembles_are_refused():
    with pytest.raises(CompressionError, match="no ensemble of causal language models"):
        text_log_likelihood(ParallelEnsemble.from_members(classifiers()[0]), ["a"])
    with pytest.raises(CompressionError, match="has no tokenizer to read texts with"):
        text_log_likelihood(ParallelEnsemble.from_members(writers()[0]), ["a"])
    with pytest.raises(CompressionError, match="under mean_probabilities without a threshold"):
        text_log_likelihood(ParallelEnsemble.from_members(writers()[0], threshold=0.5), ["a"])
