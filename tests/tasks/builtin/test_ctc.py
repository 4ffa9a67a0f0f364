"""Texts for sounds."""

import numpy
import pytest
import torch
from datasets import Dataset
from transformers import EvalPrediction, Wav2Vec2FeatureExtractor, Wav2Vec2Processor

from hf_compress import CompressionError
from hf_compress.inputs.sections import Data, FreshModel
from hf_compress.inputs.spelling import character_tokenizer
from hf_compress.tasks.builtin.ctc import Ctc
from hf_compress.tasks.frames import num_frames
from tests.sounds import sine, wav
from tests.tiny import tiny_listener

TEXTS = ["no", "soon"]
CONFIG = tiny_listener().config


def splits(texts=TEXTS, seconds=(0.02, 0.03)):
    sounds = [wav(sine(8000, seconds=length), 8000) for length in seconds]
    return dict.fromkeys(("train", "validation", "test"), Dataset.from_dict({"audio": sounds, "text": list(texts)}))


def processor(texts=TEXTS):
    extractor = Wav2Vec2FeatureExtractor(sampling_rate=16000, return_attention_mask=True)
    return Wav2Vec2Processor(feature_extractor=extractor, tokenizer=character_tokenizer(texts))


def skeleton(**changes):
    with torch.device("meta"):
        return tiny_listener(**changes)


def fitted(given):
    return Ctc().fit_rows(given, skeleton(), processor())


def test_a_batch_is_padded_with_silence_that_is_masked_and_labels_that_do_not_count():
    examples = Ctc().examples(fitted(splits()), processor(), [])["train"]
    batch = Ctc().collator(processor())([examples[0], examples[1]])
    assert batch["input_values"].shape == (2, 4000) and batch["attention_mask"].sum(1).tolist() == [320, 480]
    n, o, s = (processor().tokenizer.get_vocab()[letter] for letter in "nos")
    assert batch["labels"].tolist() == [[n, o, -100, -100], [s, o, o, n]]


def test_what_is_said_is_read_within_the_sound_alone_and_whatever_stands_beside_it():
    rows = fitted(splits())["test"]
    frames = [num_frames(320, CONFIG), num_frames(480, CONFIG)]
    assert rows["frames_of_the_sound"][:] == frames
    n, o, s = (processor().tokenizer.get_vocab()[letter] for letter in "nos")
    ids = numpy.full((2, frames[1]), s)  # spelled where there is no sound
    ids[0, : frames[0]] = [n, n, *[0] * (frames[0] - 3), o]
    ids[1] = [s, o, 0, o, n, *[0] * (frames[1] - 5)]
    task = Ctc()
    measured = task.compute_metrics(task.examples({"test": rows}, processor(), [])["test"], rows, processor())
    labels = numpy.zeros((2, 4))
    assert measured(EvalPrediction(predictions=ids, label_ids=labels)) == {"wer": 0.0, "cer": 0.0}
    ids[1, 1] = 0
    assert measured(EvalPrediction(predictions=ids, label_ids=labels)) == {"wer": 0.5, "cer": pytest.approx(1 / 6)}
    batches = EvalPrediction(predictions=[ids[:1], ids[1:]], label_ids=[labels[:1], labels[1:]])
    assert measured(batches) == {"wer": 0.5, "cer": pytest.approx(1 / 6)}
    assert task.preprocess_logits()((torch.eye(3).unsqueeze(0),), None).tolist() == [[0, 1, 2]]


def test_a_new_head_spells_the_training_texts_and_a_trained_one_as_it_did(tmp_path):
    task, fresh = Ctc(), FreshModel(config={"model_type": "wav2vec2"})
    made = task.load_processor(fresh, CONFIG, splits())
    assert made.tokenizer.get_vocab() == processor().tokenizer.get_vocab() and made.feature_extractor.return_attention_mask
    changes = {"vocab_size": 6, "pad_token_id": 0, "ctc_loss_reduction": "mean"}
    assert task.config_changes(fresh, CONFIG, made, None) == changes
    said = FreshModel(config={"model_type": "wav2vec2", "ctc_loss_reduction": "sum"})
    assert "ctc_loss_reduction" not in task.config_changes(said, CONFIG, made, None)
    assert task.load_processor(fresh, CONFIG, {}) is None

    model = tiny_listener()
    model.save_pretrained(tmp_path / "model")
    processor(["abc"]).save_pretrained(tmp_path / "model")
    trained = task.load_processor(str(tmp_path / "model"), type(CONFIG).from_pretrained(tmp_path / "model"), splits())
    assert "a" in trained.tokenizer.get_vocab()
    assert (
        task.config_changes(str(tmp_path / "model"), type(CONFIG).from_pretrained(tmp_path / "model"), trained, None) == {}
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (splits(["no", " "]), "task.text: row 1 .counted from 0. of the train split has an empty text; remove it"),
        (
            splits(["no", "so " * 20]),
            "row 1 .counted from 0. of the train split needs 60 frames to be spelled, and its sound becomes",
        ),
        (
            splits(["so no", "so|no"]),
            "task.text: row 1 .counted from 0. of the train split has a .|., which the model writes for the space between",
        ),
        (
            splits(["NO", "SOON"]),
            "task.text: 100% of the characters are none of the model's .nos.; write the texts as it spells",
        ),
    ],
)
def test_texts_that_cannot_be_learnt_are_refused_with_their_row(given, words):
    with pytest.raises(CompressionError, match=words):
        Ctc().check_data(given, Data(path="here"))
        fitted(given)


def test_a_sound_that_cannot_be_read_hides_no_empty_text():
    given = splits(["no", " ", ""], (0.02, 0.03, 0.03))
    given["train"] = given["train"].map(lambda row, number: {"audio": row["audio"] if number else b"x"}, with_indices=True)
    with pytest.raises(CompressionError) as refusal:
        Ctc().check_data(given, Data(path="here"))
    assert "task.audio: row 0 (counted from 0) of the train split" in str(refusal.value)
    assert "task.text: row 1 (counted from 0) of the train split has an empty text (and 1 more such row)" in str(
        refusal.value
    )


def test_masks_that_are_longer_than_a_sound_are_refused():
    model = skeleton(apply_spec_augment=True, mask_time_length=40)
    with pytest.raises(
        CompressionError, match="mask_time_length: 40 frames are masked at a time, and the shortest sound has"
    ):
        Ctc().fit_rows(splits(), model, processor())
