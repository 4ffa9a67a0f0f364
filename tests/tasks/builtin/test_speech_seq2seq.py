"""A text for a sound, token after token."""

import jiwer
import pytest
import torch
from datasets import Dataset
from transformers import GenerationConfig, WhisperFeatureExtractor, WhisperProcessor, WhisperTokenizer

from hf_compress._errors import CompressionError
from hf_compress._problems import RecipeError
from hf_compress.inputs.sections import Data, FreshModel, FreshTokenizer
from hf_compress.tasks.builtin.speech_seq2seq import SpeechSeq2Seq
from hf_compress.tasks.opened import open_inputs
from tests.sounds import sine, wav
from tests.tiny import tiny_tokenizer, tiny_whisper

DATA = Data(path="here")
TEXTS = ("one", "two three", "a b", "four and five", "x")
SPECIAL = ("<|startoftranscript|>", "<|en|>", "<|zh|>", "<|de|>", "<|translate|>", "<|transcribe|>", "<|notimestamps|>")


def splits_of(texts=TEXTS, seconds=(0.1, 0.3, 0.5, 0.2, 0.9)):
    sounds = [wav(sine(16000, 200.0 * (1 + row), length), 16000) for row, length in enumerate(seconds)]
    return dict.fromkeys(("train", "validation", "test"), Dataset.from_dict({"audio": sounds, "text": list(texts)}))


def whisper_processor(tokenizer=None):
    if tokenizer is None:
        tokens = ["<|endoftext|>", *"abcdefghijklmnopqrstuvwxyz", "Ġ", *SPECIAL]
        vocabulary = {token: index for index, token in enumerate(tokens)}
        tokenizer = WhisperTokenizer(vocab=vocabulary, merges=[], pad_token="<|endoftext|>")
        tokenizer.add_special_tokens({"additional_special_tokens": list(SPECIAL)})
    extractor = WhisperFeatureExtractor(feature_size=16, chunk_length=1)
    return WhisperProcessor(feature_extractor=extractor, tokenizer=tokenizer)


def test_examples_are_the_extractors_spectrograms_and_the_tokenizers_targets():
    task, processor, splits = SpeechSeq2Seq(target_length=7), whisper_processor(tiny_tokenizer()), splits_of()
    examples = task.examples(splits, processor, [])
    batch = task.collator(processor)([examples["train"][row] for row in (0, 1)])
    samples = sine(16000, 400.0, 0.3)
    expected = processor.feature_extractor(samples, sampling_rate=16000, return_tensors="pt")["input_features"]
    torch.testing.assert_close(batch["input_features"][1:], expected, rtol=0, atol=1e-2)  # 16 bits of a wav file
    assert batch["input_features"].shape == (2, 16, 100) and set(batch) == {"input_features", "labels"}
    tokens = processor.tokenizer.convert_ids_to_tokens(batch["labels"][1])
    assert tokens == [*"two th", "</s>"] and batch["labels"][0].tolist()[4:] == [-100] * 3
    facts = task.describe_examples(splits, examples)
    assert facts["targets cut at 7 tokens"].startswith("2 of 5 train rows, 2 of 5 validation")


def test_whispers_tokenizer_is_told_language_and_task_and_the_start_is_no_label():
    task, processor, model = SpeechSeq2Seq(language="german", task="transcribe"), whisper_processor(), tiny_whisper()
    task.finish_processor(processor, fresh=False)
    examples = task.examples(splits_of(), processor, [])["test"]
    tokens = processor.tokenizer.convert_ids_to_tokens(examples[2]["labels"])
    assert tokens == ["<|de|>", "<|transcribe|>", "<|notimestamps|>", "a", "Ġ", "b", "<|endoftext|>"]
    task.finish_model(model, processor)
    assert (model.generation_config.language, model.generation_config.task) == ("german", "transcribe")


def test_languages_that_nobody_knows_are_refused(tmp_path):
    with pytest.raises(CompressionError, match="task.language: Unsupported language: klingon"):
        SpeechSeq2Seq(language="klingon").finish_processor(whisper_processor(), fresh=False)
    with pytest.raises(CompressionError, match="task.task: TokenizersBackend knows no languages; leave out task"):
        SpeechSeq2Seq(task="translate").finish_processor(whisper_processor(tiny_tokenizer()), fresh=True)
    model = tiny_whisper()
    model.generation_config = GenerationConfig(is_multilingual=False, decoder_start_token_id=1)
    model.save_pretrained(tmp_path)
    whisper_processor().save_pretrained(tmp_path)
    with pytest.raises(CompressionError, match="task.language: .* knows English alone; leave out language and task"):
        SpeechSeq2Seq(language="de").load_processor(str(tmp_path), model.config, {})
    loaded = SpeechSeq2Seq().load_processor(str(tmp_path), model.config, {})
    assert loaded.tokenizer.get_vocab() == whisper_processor().tokenizer.get_vocab()


def test_what_is_measured_is_generated_alone_and_compared_with_the_raw_texts():
    task, processor, model = (
        SpeechSeq2Seq(target_length=8),
        whisper_processor(tiny_tokenizer()),
        tiny_whisper(seed=5).eval(),
    )
    splits = splits_of()
    examples = task.examples(splits, processor, [])["test"]
    task.finish_model(model, processor)
    written, nats, count = [], 0.0, 0
    for row in examples:
        features, labels = torch.tensor(row["input_features"])[None], torch.tensor(row["labels"])[None]
        made = model.generate(input_features=features, max_length=9)
        written.append(processor.tokenizer.decode(made[0], skip_special_tokens=True).strip())
        with torch.no_grad():
            logits = model(input_features=features, labels=labels).logits[0]
        nats -= float(torch.log_softmax(logits, -1)[torch.arange(labels.shape[1]), labels[0]].sum())
        count += labels.shape[1]
    for size in (1, 2, 5):
        measured = task.evaluate(model, examples, splits["test"], processor, size, "x")
        assert measured["wer"] == pytest.approx(jiwer.wer(list(TEXTS), written))
        assert measured["cer"] == pytest.approx(jiwer.cer(list(TEXTS), written))
        assert measured["nll"] == pytest.approx(nats / count, rel=1e-5) and set(measured) == {"wer", "cer", "nll"}
    assert any(written)


def test_what_does_not_fit_is_refused_by_its_row():
    splits = splits_of(seconds=(0.1, 1.2, 0.5, 1.5, 0.9))
    task, model = SpeechSeq2Seq(), tiny_whisper()
    for processor in (whisper_processor(), None):  # the tokenizer may be yet to be trained
        with pytest.raises(
            CompressionError,
            match="task.audio: row 1 .counted from 0. of the train split has 1.20 s of sound .and 1 more such row.;",
        ):
            task.fit_rows(splits, model, processor)
    whole = splits_of()
    assert task.fit_rows(whole, model, whisper_processor()) is whole and task.describe(whole, None) == {}
    with pytest.raises(RecipeError, match="task.target: row 0 .counted from 0. of the test split has an empty target"):
        task.check_data({"test": splits_of(["", "a", "b", "c", "d"])["test"]}, DATA)
    with pytest.raises(CompressionError, match="task.target_length: 128 tokens are more than the model's 64 positions"):
        task.check_model(model)


def test_sounds_that_are_too_long_are_refused_before_a_tokenizer_is_trained(tmp_path):
    splits_of(seconds=(0.1, 1.2, 0.5, 1.5, 0.9))["train"].to_parquet(tmp_path / "data.parquet")
    sizes = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "max_source_positions": 50, "num_mel_bins": 16}
    heads = {"encoder_attention_heads": 4, "decoder_attention_heads": 4}
    model = FreshModel(config={"model_type": "whisper", **sizes, **heads})
    data, task = Data(path=str(tmp_path / "data.parquet")), SpeechSeq2Seq(target_length=8)
    with pytest.raises(RecipeError, match="task.audio: row 1 .* of .*data.parquet has 1.20 s of sound"):
        open_inputs(model, data, task, FreshTokenizer(vocab_size=300))


def test_a_processor_is_made_around_a_tokenizer_of_the_recipe():
    task, model = SpeechSeq2Seq(), tiny_whisper()
    made = task.with_tokenizer(tiny_tokenizer(), FreshModel(config={"model_type": "whisper"}), model.config)
    assert isinstance(made, WhisperProcessor) and made.feature_extractor.n_samples == 16000
    changes = task.config_changes(FreshModel(config={"model_type": "whisper"}), model.config, made, "a/tokenizer")
    assert changes["vocab_size"] == len(tiny_tokenizer()) and changes["eos_token_id"] == 2
    assert changes["begin_suppress_tokens"] is None and task.config_changes("a/model", model.config, made, None) == {}


def test_a_plain_tokenizer_is_looked_at_where_the_model_was_refused():
    SpeechSeq2Seq().finish_processor(tiny_tokenizer(), fresh=True)
    with pytest.raises(CompressionError, match="task.language: .* knows no languages; leave out language"):
        SpeechSeq2Seq(language="de").finish_processor(tiny_tokenizer(), fresh=True)
