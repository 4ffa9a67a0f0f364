"""Saved ensembles in processes of their own: pipelines by path alone, with this package and without it."""

import inspect
import json

import numpy as np
import pytest
import torch

from hf_compress import Cascade, Gate, Gating, ParallelEnsemble, ResidualEnsemble, Stacking
from tests.alone import alone
from tests.ensembling.folders import hearers, images, lower_tokenizer, sounds, spellers, texts, translators, writers
from tests.ensembling.speakers import pair
from tests.tiny import tiny_tokenizer

SCRIPT = """
import json, sys
sys.modules["hf_compress"] = None
print("ANSWERS" + json.dumps(ask(sys.argv[1], trust_remote_code=True)))
"""


def ask(place, **trust):
    """What the pipelines answer, in a process that knows this package or in one that does not."""
    import numpy as np
    from PIL import Image
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, pipeline

    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 255, (12, 10, 3), dtype=np.uint8))
    wave = rng.normal(size=400).astype(np.float32)
    translator = AutoModelForSeq2SeqLM.from_pretrained(f"{place}/translator", **trust)
    read = AutoTokenizer.from_pretrained(f"{place}/translator", **trust)(["ab c", "x"], padding=True, return_tensors="pt")
    written = translator.generate(**read, max_new_tokens=6, num_beams=2, do_sample=False).tolist()
    heard = {"raw": wave, "sampling_rate": 16000}
    listen = pipeline("automatic-speech-recognition", f"{place}/whisper", trust_remote_code=True)
    spell = pipeline("automatic-speech-recognition", f"{place}/speller", **trust)
    texts = {
        "whisper": listen(dict(heard), generate_kwargs={"max_new_tokens": 5, "num_beams": 2}),
        "speller": spell(dict(heard), return_timestamps="char"),
    }
    return (
        {"translator": written}
        | texts
        | {
            name: pipeline(task, f"{place}/{name}", **trust)(inputs, **options)
            for name, task, inputs, options in (
                ("text", "text-classification", ["ab c", "hello."], {"top_k": None}),
                ("texts", "text-classification", ["ab c", "Hello."], {"top_k": None, "batch_size": 2}),
                ("cascade", "text-classification", ["ab c", "hello.", "x"], {"top_k": None}),
                ("stacking", "text-classification", ["ab c", "hello."], {"top_k": None}),
                ("gating", "text-classification", ["ab c", "hello."], {"top_k": None}),
                ("residual", "text-classification", ["ab c", "hello."], {"top_k": None}),
                ("image", "image-classification", picture, {}),
                ("images", "image-classification", picture, {}),
                ("sound", "audio-classification", wave, {}),
                ("writer", "text-generation", "ab c", {"max_new_tokens": 8, "do_sample": False, "return_full_text": False}),
                ("speakers", "text-generation", ["the other", "a north"], {"max_new_tokens": 8, "do_sample": False}),
            )
        }
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("ensembles")
    for name, (members, processors) in {
        "text": texts(),
        "texts": texts((tiny_tokenizer, lower_tokenizer)),
        "image": images(),
        "images": images((8, 9)),
        "sound": sounds(),
        "writer": writers(),
        "translator": translators(),
        "whisper": hearers(),
        "speller": spellers(),
        "speakers": pair("pieces"),
    }.items():
        # Not auto, which goes by the clock, so that two processes would differ in the last bits.
        execution = "stacked" if name in ("text", "image") else "sequential"
        made = ParallelEnsemble.from_members(members, processors=processors, weights=[1, 2], execution=execution)
        made.save_pretrained(place / name)
    members, processors = texts()
    learned = {"weight": torch.linspace(-1, 1, 18).view(3, 6), "bias": torch.zeros(3)}
    gate = Gate(2, 3)
    gate.outer.weight.data.copy_(torch.linspace(-1, 1, 16).view(2, 8))
    for name, kind, options in (
        ("cascade", Cascade, {"thresholds": [0.45]}),
        ("stacking", Stacking, learned),
        ("gating", Gating, {"gate": gate}),
        ("residual", ResidualEnsemble, {"step_sizes": [1.0, 0.5]}),
    ):
        made = kind.from_members(members, processors=processors, execution="sequential", **options)
        made.save_pretrained(place / name)
    return place


@pytest.fixture(scope="module")
def answers(place):
    code = inspect.getsource(ask) + SCRIPT
    (written,) = (line for line in alone(place, code, place).splitlines() if line.startswith("ANSWERS"))
    return {"with": json.loads(json.dumps(ask(place))), "without": json.loads(written.removeprefix("ANSWERS"))}


def test_without_the_package_the_answers_are_the_same(answers):
    assert answers["with"] == answers["without"]


def test_pipelines_answer_as_the_members_by_hand(answers):
    """Sorted by score, as pipelines do."""
    members, processors = texts((tiny_tokenizer, lower_tokenizer))
    for written, found in zip(["ab c", "Hello."], answers["with"]["texts"], strict=True):
        rows = [
            dict(zip(order, member(**processor(written, return_tensors="pt")).logits.softmax(-1)[0].tolist(), strict=True))
            for member, processor, order in zip(members, processors, ("abc", "cab"), strict=True)
        ]
        for answer in found:
            assert answer["score"] == pytest.approx((rows[0][answer["label"]] + 2 * rows[1][answer["label"]]) / 3, abs=1e-5)
    members, processors = sounds()
    wave = np.random.default_rng(0)
    wave.integers(0, 255, (12, 10, 3), dtype=np.uint8)
    values = torch.tensor(processors[0](wave.normal(size=400).astype(np.float32), sampling_rate=16000)["input_values"][0])
    shares = [member(values[None]).logits.softmax(-1)[0] for member in members]
    expected = ((shares[0] + 2 * shares[1]) / 3).tolist()
    for answer in answers["with"]["sound"]:
        assert answer["score"] == pytest.approx(expected["abc".index(answer["label"])], abs=1e-4)
    assert answers["with"]["writer"][0]["generated_text"]


def test_recordings_are_written_down_as_by_hand(answers):
    wave = np.random.default_rng(0)
    wave.integers(0, 255, (12, 10, 3), dtype=np.uint8)
    samples = wave.normal(size=400).astype(np.float32)
    for name, (members, processors) in {"whisper": hearers(), "speller": spellers()}.items():
        made = ParallelEnsemble.from_members(members, processors=processors, weights=[1, 2])
        inputs = processors[0].feature_extractor(samples, sampling_rate=16000, return_tensors="pt")
        if name == "whisper":
            tokens = made.generate(inputs["input_features"], max_new_tokens=5, num_beams=2)
        else:
            tokens = made(**inputs).logits.argmax(-1)
        written = processors[0].tokenizer.decode(tokens[0], skip_special_tokens=name == "whisper")
        assert answers["with"][name]["text"] == written != ""
    ends = [chunk["timestamp"][1] for chunk in answers["with"]["speller"]["chunks"]]
    assert ends == sorted(ends) and ends[-1] <= 400 / 16000


def test_members_with_different_tokenizers_write_as_before_they_were_saved(answers):
    members, processors = pair("pieces")
    made = ParallelEnsemble.from_members(members, processors=processors, weights=[1, 2])
    for text, found in zip(["the other", "a north"], answers["with"]["speakers"], strict=True):
        ids = made.generate(**made.processor(text, return_tensors="pt"), max_new_tokens=8, do_sample=False)
        assert found[0]["generated_text"] == made.processor.decode(ids[0], skip_special_tokens=True)
