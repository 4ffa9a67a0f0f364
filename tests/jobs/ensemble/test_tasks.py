"""Ensembles of other tasks: images, sounds, and language models, whose perplexity is that of the mixture."""

import json
import math

import numpy
import pytest
import torch
from datasets import Dataset, Features, Value
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTForAudioClassification,
    AutoModelForCausalLM,
    AutoTokenizer,
    ViTImageProcessorPil,
    Wav2Vec2FeatureExtractor,
    pipeline,
)

from hf_compress import Recipe, mixture_weights
from hf_compress.checkpoints.manifest import Manifest
from hf_compress.evaluation.compare import read_report
from hf_compress.jobs.verify.run import verify
from tests.ensembling.folders import lower_tokenizer, named, saved, sharper, texts
from tests.jobs.ensemble.test_run import answers
from tests.small import write_images
from tests.sounds import sine, wav
from tests.tiny import tiny_hearer, tiny_llama, tiny_tokenizer, tiny_vit

SPLITS = ("train", "validation", "test")


def made_of(recipe, folders, data, task, **changes):
    members = [{"model": folder} for folder in folders]
    return Recipe.from_plain(recipe(members=members, task=task, data={"path": str(data)}, **changes)).run()


def test_images(recipe, tmp_path):
    members = [named(sharper(tiny_vit(seed, num_labels=2)), ("dark", "light")) for seed in range(2)]
    folders = saved(members, [ViTImageProcessorPil(size={"height": 8, "width": 8})] * 2, tmp_path)
    (tmp_path / "data").mkdir()
    for split in SPLITS:
        write_images(tmp_path / "data" / f"{split}.parquet")
    done = made_of(recipe, folders, tmp_path / "data", {"name": "image_classification"}, fit={"weights": True})
    assert done.report.rows[-1].name == "ensemble" and "accuracy" in done.report.rows[-1].intervals
    assert "AutoImageProcessor" in (done.folder / "README.md").read_text()


def test_sounds(recipe, tmp_path):
    members = [named(sharper(tiny_hearer(seed, num_labels=2), 2.0), ("high", "low")) for seed in range(2)]
    folders = saved(members, [Wav2Vec2FeatureExtractor()] * 2, tmp_path)
    rows = {
        "audio": [wav(sine(16000, 200.0 * (1 + place), 0.1), 16000) for place in range(6)],
        "label": ["low", "high"] * 3,
    }
    (tmp_path / "data").mkdir()
    for split in SPLITS:
        features = Features({"audio": Value("binary"), "label": Value("string")})
        Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "data" / f"{split}.parquet")
    done = made_of(recipe, folders, tmp_path / "data", {"name": "audio_classification"}, fit={"temperatures": True})
    assert done.report.rows[-1].metrics["num_examples"] == 6


def test_sounds_for_two_feature_extractors(recipe, tmp_path):
    """One reads samples, padded to the longest sound of all, the other a spectrogram of one length."""
    torch.manual_seed(1)
    config = ASTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        num_mel_bins=16,
        max_length=20,
        num_labels=2,
    )
    sees = named(sharper(ASTForAudioClassification(config)), ("low", "high"))
    hears = named(sharper(tiny_hearer(num_labels=2), 2.0), ("high", "low"))
    extractors = [Wav2Vec2FeatureExtractor(), ASTFeatureExtractor(num_mel_bins=16, max_length=20)]
    folders = saved([hears, sees], extractors, tmp_path)
    sounds = [sine(16000, 200.0 * (1 + place), 0.1 * (1 + place)) for place in range(6)]
    rows = {"audio": [wav(sound, 16000) for sound in sounds], "label": ["low", "high"] * 3}
    (tmp_path / "data").mkdir()
    for split in SPLITS:
        features = Features({"audio": Value("binary"), "label": Value("string")})
        Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "data" / f"{split}.parquet")
    done = made_of(
        recipe, folders, tmp_path / "data", {"name": "audio_classification"}, fit={"weights": True}, batch_size=4
    )
    assert verify(str(done.folder), data=str(tmp_path / "data")).holds
    assert done.report.setting["sounds cut at 0.2 s"].startswith("4 of 6 train")
    longest = max(map(len, sounds))
    with torch.no_grad():
        nll = []
        for sound, label in zip(sounds, rows["label"], strict=True):
            sound = numpy.float32(numpy.round(sound * 32767.0) / 32768)  # as 16 bits keep it
            padded = torch.tensor(extractors[0](sound, sampling_rate=16000).input_values[0])
            padded = torch.nn.functional.pad(padded, (0, longest - len(padded)))
            first = hears(padded[None]).logits.softmax(-1)[0]
            image = extractors[1](sound[:3200], sampling_rate=16000, return_tensors="pt").input_values
            second = sees(image).logits.softmax(-1)[0].flip(0)
            weights = done.report.weights
            both = weights["model-0"] * first + weights["model-1"] * second
            nll.append(-both[("high", "low").index(label)].log())
    assert done.report.rows[-1].metrics["nll"] == pytest.approx(float(sum(nll) / 6), abs=1e-4)
    # A pipeline, which prepares one sound at a time for all members.
    asked = pipeline("audio-classification", str(done.folder))(sounds[0].copy())
    assert {one["label"] for one in asked} == {"high", "low"}


def test_the_perplexity_of_language_models_together_is_that_of_their_mixture(recipe, tmp_path):
    folders = saved([sharper(tiny_llama(seed)) for seed in range(2)], [tiny_tokenizer(), tiny_tokenizer()], tmp_path)
    (tmp_path / "data").mkdir()
    for split in SPLITS:
        text = json.dumps({"text": "abc de. hello abc. " * 4})
        (tmp_path / "data" / f"{split}.jsonl").write_text("\n".join([text] * 3))
    task = {"name": "causal_lm", "text": "text", "length": 8}
    members = [{"model": folders[0], "weight": 3.0}, {"model": folders[1]}]
    done = Recipe.from_plain(recipe(members=members, task=task, data={"path": str(tmp_path / "data")})).run()
    report = read_report(done.folder)
    assert report.metric == "perplexity" and report.disagreement == [] and len(report.rows) == 3
    both = [AutoModelForCausalLM.from_pretrained(folder).eval() for folder in folders]
    together = AutoModelForCausalLM.from_pretrained(done.folder)
    ids = AutoTokenizer.from_pretrained(folders[0])("abc de. hello", return_tensors="pt").input_ids
    with torch.no_grad():
        first, second = (model(ids).logits.softmax(-1) for model in both)
        torch.testing.assert_close(together(ids).logits.exp(), 0.75 * first + 0.25 * second, rtol=1e-4, atol=1e-6)
    assert min(row.metrics["perplexity"] for row in report.rows[:2]) > 1
    nll = [math.log(row.metrics["perplexity"]) for row in report.rows]
    assert nll[2] <= 0.75 * nll[0] + 0.25 * nll[1] + 1e-5  # Jensen
    assert verify(str(done.folder), data=str(tmp_path / "data")).holds
    assert Manifest.read(done.folder).facts["members"][0]["weight"] == pytest.approx(0.75)


def test_members_with_tokenizers_of_their_own_are_each_asked_with_their_own_inputs(recipe, tmp_path, made):
    folders = saved(*texts((tiny_tokenizer, lower_tokenizer)), tmp_path)
    fusion = {"name": "cascade", "thresholds": [0.5]}
    members = [{"model": folder, "cost": cost} for folder, cost in zip(folders, (1.0, 2.0), strict=True)]
    done = Recipe.from_plain(recipe(members=members, fusion=fusion)).run()
    report = read_report(done.folder)
    alone = [answers(folder, "test", made) for folder in folders]
    for row, (logs, labels) in zip(report.rows, alone, strict=False):
        assert row.metrics["nll"] == pytest.approx(-logs.gather(1, labels[:, None]).mean().item(), abs=1e-5)
    sure = alone[0][0].exp().amax(-1) >= 0.5
    expected = torch.where(sure, alone[0][0].argmax(-1), alone[1][0].argmax(-1)) == alone[0][1]
    assert report.rows[-1].metrics["accuracy"] == pytest.approx(expected.double().mean().item())
    assert 0 < report.stages[0]["test"] < 1 and verify(str(done.folder), data=str(made / "data")).holds


def test_images_for_two_processors(recipe, tmp_path):
    members = [named(sharper(tiny_vit(seed, num_labels=2)), ("dark", "light")) for seed in range(2)]
    processors = [ViTImageProcessorPil(size={"height": 8, "width": 8}, image_mean=[mean] * 3) for mean in (0.5, 0.25)]
    folders = saved(members, processors, tmp_path)
    (tmp_path / "data").mkdir()
    for split in SPLITS:
        write_images(tmp_path / "data" / f"{split}.parquet")
    done = made_of(recipe, folders, tmp_path / "data", {"name": "image_classification"})
    assert (
        done.report.rows[-1].name == "ensemble"
        and "EnsembleImageProcessor" in (done.folder / "modeling_ensemble.py").read_text()
    )


def test_weights_of_language_models_are_learned_of_the_tokens_that_came(recipe, tmp_path):
    folders = saved([sharper(tiny_llama(seed)) for seed in range(2)], [tiny_tokenizer(), tiny_tokenizer()], tmp_path)
    (tmp_path / "data").mkdir()
    for split in SPLITS:
        text = json.dumps({"text": "abc de. hello abc. " * 4})
        (tmp_path / "data" / f"{split}.jsonl").write_text("\n".join([text] * 3))
    task = {"name": "causal_lm", "text": "text", "length": 8}
    done = made_of(recipe, folders, tmp_path / "data", task, fit={"weights": True})
    report = read_report(done.folder)
    tokenizer, split = AutoTokenizer.from_pretrained(folders[0]), "abc de. hello abc. " * 4
    ids = [
        token for _ in range(3) for token in [*tokenizer(split).input_ids, tokenizer.eos_token_id or tokenizer.pad_token_id]
    ]
    blocks = torch.tensor(ids[: len(ids) // 8 * 8]).reshape(-1, 8)
    logs = []
    for folder in folders:
        with torch.no_grad():
            found = AutoModelForCausalLM.from_pretrained(folder)(blocks).logits[:, :-1].log_softmax(-1)
        logs.append(found.gather(-1, blocks[:, 1:, None]).flatten())
    weights, _ = mixture_weights(torch.stack(logs))
    assert [report.weights[f"model-{k}"] for k in range(2)] == pytest.approx(weights.tolist(), abs=1e-3)
    mixed = torch.logsumexp(torch.stack(logs) + torch.tensor(list(report.weights.values())).log()[:, None], 0)
    assert report.validation["ensemble"] == pytest.approx(math.exp(-mixed.mean().item()), rel=1e-4)
    assert "the ensemble's perplexity there" in report.notes[0] and report.fitted == ("weights",)
    assert set(report.latency["ensemble"]) == {"1", "16"} and report.macs["ensemble"] > report.macs["model-0"]
