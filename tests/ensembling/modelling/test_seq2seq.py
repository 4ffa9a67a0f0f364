"""Texts that several encoder-decoders write together, against loops without caches."""

import itertools

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, Seq2SeqTrainer, Seq2SeqTrainingArguments
from transformers.modeling_outputs import BaseModelOutput

from hf_compress import CompressionError, ParallelEnsemble
from hf_compress.ensembling.modelling.cache import CACHE
from hf_compress.ensembling.modelling.seq2seq import ParallelEnsembleForSeq2SeqLM
from tests.ensembling.folders import lower_tokenizer, sharper
from tests.tiny import tiny_bart, tiny_t5, tiny_tokenizer

READ = torch.tensor([[9, 21, 5, 2, 0, 0], [33, 8, 40, 6, 12, 2], [7, 50, 31, 22, 2, 0]])
MASK = (READ != 0).long()
STARTS = (0, 2)
"""What a T5 and a BART begin with."""


def narrow(seed=0, **changes):
    """A T5 of another width and depth."""
    return sharper(tiny_t5(seed, d_model=16, d_ff=32, num_layers=1, num_heads=2, **changes), 2.0).eval()


@pytest.fixture(scope="module")
def pair():
    members = [narrow(1), sharper(tiny_bart()).eval()]
    members[1].generation_config.forced_eos_token_id = None
    return members, ParallelEnsemble.from_members(members, weights=[2, 1])


def next_token(members, starts, read, mask, written):
    """p of the next token, from all tokens anew; `written` is without a start."""
    rows = []
    with torch.no_grad():
        for member, start in zip(members, starts, strict=True):
            tokens = torch.cat([torch.full((len(read), 1), start), written], dim=1)
            logits = member(read, attention_mask=mask, decoder_input_ids=tokens, use_cache=False).logits
            rows.append(logits[:, -1].softmax(-1))
    return (2 * rows[0] + rows[1]) / 3


def greedy(members, starts, read, mask, steps):
    written = torch.zeros(len(read), 0, dtype=torch.long)
    done = torch.zeros(len(read), dtype=torch.bool)
    for _ in range(steps):
        token = torch.where(done, 0, next_token(members, starts, read, mask, written).argmax(-1))
        done |= token == 2
        written = torch.cat([written, token[:, None]], dim=1)
    return written


def test_greedy_tokens_are_those_of_a_loop_without_caches(pair):
    members, made = pair
    assert type(made) is ParallelEnsembleForSeq2SeqLM
    found = made.generate(READ, attention_mask=MASK, max_new_tokens=12, do_sample=False)
    expected = greedy(members, STARTS, READ, MASK, 12)
    assert torch.equal(found[:, 1:], expected[:, : found.shape[1] - 1])
    assert len({tuple(row) for row in found.tolist()}) == 3
    alone = made.generate(READ[:1, :4], max_new_tokens=12, do_sample=False)
    assert torch.equal(alone[0], found[0, : alone.shape[1]])
    without = made.generate(READ, attention_mask=MASK, max_new_tokens=12, do_sample=False, use_cache=False)
    assert torch.equal(without, found)


def test_beams_find_what_all_texts_say_is_best():
    """With as many beams as there are tokens, two steps of beam search leave nothing out."""
    small = {"vocab_size": 12, "eos_token_id": None}
    members = [narrow(0, **small), sharper(tiny_t5(1, **small)).eval()]
    made = ParallelEnsemble.from_members(members, weights=[2, 1])
    read, mask = READ[:2, :4] % 12, torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]])
    found = made.generate(
        read,
        attention_mask=mask,
        max_new_tokens=2,
        num_beams=12,
        num_return_sequences=5,
        do_sample=False,
        length_penalty=0.0,
    )
    for row in range(2):
        one = {"read": read[row : row + 1], "mask": mask[row : row + 1]}
        scores = {}
        first = next_token(members, (0, 0), written=torch.zeros(1, 0, dtype=torch.long), **one)[0].log()
        for word in range(12):
            second = next_token(members, (0, 0), written=torch.tensor([[word]]), **one)[0].log()
            scores |= {(word, other): float(first[word] + second[other]) for other in range(12)}
        best = sorted(itertools.product(range(12), repeat=2), key=scores.__getitem__, reverse=True)[:5]
        assert [tuple(tokens) for tokens in found[5 * row : 5 * row + 5, 1:].tolist()] == best


def test_samples_come_from_the_combined_distribution(pair):
    members, made = pair
    torch.manual_seed(0)
    read = READ[1:2]
    drawn = made.generate(read, max_new_tokens=1, do_sample=True, top_k=0, num_return_sequences=3000)[:, 1]
    expected = next_token(members, STARTS, read, None, torch.zeros(1, 0, dtype=torch.long))[0]
    seen = torch.bincount(drawn, minlength=64) / len(drawn)
    # Four standard deviations of a share of 3000 draws, for 64 tokens.
    assert ((seen - expected).abs() <= 4 * (expected * (1 - expected) / 3000).sqrt() + 1e-3).all()


@pytest.mark.parametrize("make", [tiny_t5, tiny_bart])
@pytest.mark.parametrize("options", [{}, {"num_beams": 3}], ids=["greedy", "beams"])
def test_a_member_twice_is_that_member(make, options):
    member = sharper(make()).eval()
    made = ParallelEnsemble.from_members([member, member], names=["one", "again"])
    given = {"attention_mask": MASK, "max_new_tokens": 8, "do_sample": False, **options}
    assert torch.equal(made.generate(READ, **given), member.generate(READ, **given))


def test_the_loss_is_that_of_the_combined_distribution(pair):
    members, made = pair
    labels = torch.tensor([[9, 4, 2, -100], [8, 5, 6, 2], [2, -100, -100, -100]])
    with torch.no_grad():
        rows = [member(READ, attention_mask=MASK, labels=labels).logits.softmax(-1) for member in members]
        output = made(READ, attention_mask=MASK, labels=labels)
    combined = ((2 * rows[0] + rows[1]) / 3).log()
    kept = labels != -100
    torch.testing.assert_close(output.logits, combined)
    torch.testing.assert_close(output.loss, -combined[kept].gather(-1, labels[kept][:, None]).mean())


def test_each_encoder_runs_once_and_only_what_it_made_is_used(pair):
    members, made = pair
    calls = []
    handles = [
        member.get_encoder().register_forward_hook(lambda *_, number=number: calls.append(number))
        for number, member in enumerate(members)
    ]
    found = made.generate(READ, attention_mask=MASK, max_new_tokens=5, num_beams=2, do_sample=False)
    assert calls == [0, 1]
    with torch.no_grad():
        states = made.get_encoder()(READ, attention_mask=MASK)
    assert (states.last_hidden_state.shape[-1], states.last_hidden_state_of_1.shape[-1]) == (16, 32)
    again = made.generate(encoder_outputs=states, attention_mask=MASK, max_new_tokens=5, num_beams=2, do_sample=False)
    assert torch.equal(again, found)
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize("name", ["past_key_values", "cache"])
def test_a_text_goes_on_from_the_cache_by_both_of_its_names(name, pair):
    _, made = pair
    written = torch.tensor([[0, 9, 4, 7]] * 3)
    given = {"input_ids": READ, "attention_mask": MASK}
    with torch.no_grad():
        first = made(**given, decoder_input_ids=written[:, :2], use_cache=True)
        rest = made(**given, decoder_input_ids=written[:, 2:], use_cache=True, **{name: first[CACHE]})
        torch.testing.assert_close(rest.logits, made(**given, decoder_input_ids=written).logits[:, 2:])
    assert rest[CACHE].get_seq_length() == 4


def test_an_ensemble_can_be_a_member(pair):
    members, made = pair
    outer = ParallelEnsemble.from_members([members[1], made], names=["one", "both"], weights=[1, 3])
    flat = ParallelEnsemble.from_members(members, weights=[1, 1])
    given = {"attention_mask": MASK, "max_new_tokens": 6, "do_sample": False, "num_beams": 2}
    # The outer one begins as a BART does, the flat one as a T5.
    assert torch.equal(outer.generate(READ, **given)[:, 1:], flat.generate(READ, **given)[:, 1:])


def test_it_comes_back_with_its_way_of_generating(pair, tmp_path):
    members, _ = pair
    tokenizers = [tiny_tokenizer(), tiny_tokenizer()]
    made = ParallelEnsemble.from_members(members, processors=tokenizers, temperatures=[1.0, 2.0])
    made.generation_config.max_new_tokens = 5
    made.generation_config.num_beams = 2
    made.save_pretrained(tmp_path)
    again = AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    assert again.config.is_encoder_decoder and again.config.pad_token_id == 0
    expected = made.generate(READ, attention_mask=MASK)
    assert torch.equal(again.generate(READ, attention_mask=MASK), expected) and expected.shape[1] == 6
    assert [member.generation_config.decoder_start_token_id for member in again.members] == [0, 2]


def test_a_trainer_generates_and_measures(pair, tmp_path):
    _, made = pair
    rows = [{"input_ids": row, "attention_mask": mask, "labels": row[:3]} for row, mask in zip(READ, MASK, strict=True)]
    seen = {}

    def metrics(prediction):
        seen["tokens"] = prediction.predictions
        return {}

    args = Seq2SeqTrainingArguments(
        output_dir=str(tmp_path),
        use_cpu=True,
        report_to="none",
        predict_with_generate=True,
        generation_max_length=6,
        disable_tqdm=True,
    )
    trainer = Seq2SeqTrainer(model=made, args=args, eval_dataset=rows, compute_metrics=metrics)
    found = trainer.evaluate()
    with torch.no_grad():
        expected = made(READ, attention_mask=MASK, labels=READ[:, :3]).loss
    assert found["eval_loss"] == pytest.approx(float(expected), abs=1e-5)
    written = made.generate(READ, attention_mask=MASK, max_length=6)
    assert seen["tokens"][:, : written.shape[1]].tolist() == written.tolist()


def test_what_does_not_fit_is_refused(pair):
    members, made = pair
    with pytest.raises(
        CompressionError, match="another tokenizer than member 'x', and AutoModelForSeq2SeqLM answers token"
    ):
        ParallelEnsemble.from_members(members, names=["x", "y"], processors=[tiny_tokenizer(), lower_tokenizer()])
    with pytest.raises(CompressionError, match="cache_implementation='static'"):
        made.generate(READ, max_new_tokens=2, cache_implementation="static")
    states = BaseModelOutput(last_hidden_state=torch.zeros(3, 6, 16))
    with pytest.raises(CompressionError, match="encoder_outputs is a BaseModelOutput that does not hold the states of 2"):
        made(encoder_outputs=states, decoder_input_ids=READ)
    cache = members[0](READ, decoder_input_ids=READ, use_cache=True)[CACHE]
    with pytest.raises(CompressionError, match="EncoderDecoderCache is for one model"):
        made(READ, decoder_input_ids=READ, **{CACHE: cache}, use_cache=True)
