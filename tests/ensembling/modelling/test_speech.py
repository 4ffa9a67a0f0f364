"""Recordings that several Whispers write down together, against one of them and against loops without caches."""

import pytest
import torch
from transformers import AutoModelForSpeechSeq2Seq, GenerationConfig, WhisperFeatureExtractor, WhisperProcessor

from hf_compress import CompressionError, ParallelEnsemble
from hf_compress.ensembling.modelling.speech import DETECTED, ParallelEnsembleForSpeechSeq2Seq, prompt_of
from tests.ensembling.folders import hearers
from tests.tiny import tiny_tokenizer, tiny_whisper

SOUNDS = torch.randn(2, 16, 100, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 30.0]).view(2, 1, 1)
SETTINGS = {
    "lang_to_id": {"<|en|>": 40, "<|de|>": 41},
    "task_to_id": {"transcribe": 42, "translate": 43},
    "no_timestamps_token_id": 44,
}


@pytest.fixture(scope="module")
def pair():
    members, processors = hearers()
    return members, ParallelEnsemble.from_members(members, processors=processors, weights=[2, 1])


def test_greedy_tokens_are_those_of_a_loop_without_caches(pair):
    members, made = pair
    assert type(made) is ParallelEnsembleForSpeechSeq2Seq
    tokens, first = torch.full((2, 1), 1), True
    with torch.no_grad():
        for _ in range(6):
            rows = [member(SOUNDS, decoder_input_ids=tokens, use_cache=False).logits[:, -1] for member in members]
            shares = (2 * rows[0].softmax(-1) + rows[1].softmax(-1)) / 3
            shares[:, [5] if first else []] = 0  # what no text begins with
            tokens, first = torch.cat([tokens, shares.argmax(-1, keepdim=True)], dim=1), False
    found = made.generate(SOUNDS, max_new_tokens=6, do_sample=False, eos_token_id=63)
    assert torch.equal(found, tokens) and len({tuple(row) for row in found.tolist()}) == 2


@pytest.mark.parametrize("options", [{}, {"num_beams": 3}, {"language": "german", "task": "translate"}])
def test_a_member_twice_is_that_member_prompt_and_all(options):
    members, _ = hearers()
    members[0].generation_config = GenerationConfig(
        decoder_start_token_id=1, pad_token_id=0, eos_token_id=2, suppress_tokens=[7], is_multilingual=True, **SETTINGS
    )
    made = ParallelEnsemble.from_members([members[0]] * 2, names=["one", "again"])
    given = {"max_new_tokens": 6, "do_sample": False, **options}
    found = made.generate(SOUNDS, **given)
    assert torch.equal(found[:, 1:4], made.generate(SOUNDS, generation_config=GenerationConfig(**given))[:, 1:4])
    assert torch.equal(found, members[0].generate(SOUNDS, force_unique_generate_call=True, **given))
    if "language" in options:
        assert found[:, :4].tolist() == [[1, 41, 43, 44]] * 2
    else:
        assert set(found[:, 1].tolist()) <= {40, 41} and found[:, 2].tolist() == [44, 44]


def test_languages_nobody_names_are_heard_together(pair):
    members, made = pair
    config = GenerationConfig(decoder_start_token_id=1, pad_token_id=0, eos_token_id=2, max_new_tokens=1, **SETTINGS)
    with torch.no_grad():
        rows = [member(SOUNDS, decoder_input_ids=torch.full((2, 1), 1)).logits[:, 0].softmax(-1) for member in members]
    heard = ((2 * rows[0] + rows[1])[:, [40, 41]].argmax(-1) + 40).tolist()
    assert made.generate(SOUNDS, generation_config=config)[:, 1].tolist() == heard


@pytest.mark.parametrize(
    ("settings", "given", "prompt"),
    [
        ({}, (None, None), [1]),
        (SETTINGS, (None, None), [1, DETECTED, 44]),
        (SETTINGS, ("english", None), [1, 40, 42, 44]),
        (SETTINGS, ("<|de|>", "translate"), [1, 41, 43, 44]),
        (SETTINGS, (None, "transcribe"), [1, DETECTED, 42, 44]),
        ({"no_timestamps_token_id": 44}, (None, None), [1, 44]),
        ({"forced_decoder_ids": [[1, 40], [2, 42], [3, 44]]}, (None, None), [1, 40, 42, 44]),
        ({**SETTINGS, "forced_decoder_ids": [[1, None], [2, 42]]}, (None, None), [1, DETECTED, 42, 44]),
        ({"forced_decoder_ids": [[1, None], [2, 42]]}, (None, None), [1, 42]),
    ],
)
def test_prompts(settings, given, prompt):
    assert prompt_of(GenerationConfig(**settings), 1, *given) == prompt


def test_the_loss_is_that_of_the_combined_distribution(pair):
    members, made = pair
    labels = torch.tensor([[9, 4, 2, -100], [8, 5, 6, 2]])
    with torch.no_grad():
        rows = [member(SOUNDS, labels=labels).logits.softmax(-1) for member in members]
        output = made(input_features=SOUNDS, labels=labels)
    combined, kept = ((2 * rows[0] + rows[1]) / 3).log(), labels != -100
    torch.testing.assert_close(output.loss, -combined[kept].gather(-1, labels[kept][:, None]).mean())


def test_it_comes_back_by_the_auto_class(pair, tmp_path):
    _, made = pair
    made.save_pretrained(tmp_path)
    again = AutoModelForSpeechSeq2Seq.from_pretrained(tmp_path)
    given = {"max_new_tokens": 4, "do_sample": False, "num_beams": 2}
    assert torch.equal(again.generate(SOUNDS, **given), made.generate(SOUNDS, **given))
    assert type(again.processor).__name__ == "WhisperProcessor"


def test_what_an_ensemble_does_not_do_is_refused(pair):
    members, made = pair
    with pytest.raises(CompressionError, match="have 101 frames, and member 'member-0' hears 100 at once; cut them"):
        made.generate(torch.zeros(1, 16, 101))
    with pytest.raises(CompressionError, match="return_timestamps: an ensemble writes words"):
        made.generate(SOUNDS, return_timestamps=True)
    with pytest.raises(CompressionError, match="language='klingon': the members' languages are none"):
        made.generate(SOUNDS, language="klingon")
    with pytest.raises(CompressionError, match="task='sing': the members know no tasks"):
        made.generate(SOUNDS, task="sing")
    with pytest.raises(CompressionError, match="must name the places 1, 2"):
        prompt_of(GenerationConfig(forced_decoder_ids=[[2, 40]]), 1, None, None)
    extractors = [WhisperFeatureExtractor(feature_size=bins, chunk_length=1) for bins in (16, 8)]
    processors = [WhisperProcessor(extractor, tiny_tokenizer()) for extractor in extractors]
    coarse = [members[0], tiny_whisper(1, num_mel_bins=8)]
    with pytest.raises(CompressionError, match="member 'y' has another feature extractor than member 'x'"):
        ParallelEnsemble.from_members(coarse, names=["x", "y"], processors=processors)
