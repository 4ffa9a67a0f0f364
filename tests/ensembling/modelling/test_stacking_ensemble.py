"""Stacking as one model, against the classifier by hand, and its own weights on disk."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForSequenceClassification

from hf_compress import CompressionError, Stacking, fit_stacking
from tests.ensembling.folders import images, lower_tokenizer, saved, texts, writers
from tests.tiny import tiny_tokenizer

IDS = torch.randint(4, 60, (12, 7), generator=torch.Generator().manual_seed(0))


def learned(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {"weight": torch.randn(3, 6, generator=generator), "bias": torch.randn(3, generator=generator)}


def by_hand(members, weight, bias, ids=IDS, temperatures=(1, 1)):
    """Row by row and class by class, in the order a, b, c."""
    rows = []
    for row in ids:
        with torch.no_grad():
            first = (members[0](row[None]).logits[0] / temperatures[0]).log_softmax(-1)
            second = (members[1](row[None]).logits[0][[1, 2, 0]] / temperatures[1]).log_softmax(-1)
        x = [*first.tolist(), *second.tolist()]
        scores = [sum(float(weight[c, k]) * x[k] for k in range(6)) + float(bias[c]) for c in range(3)]
        rows.append(torch.tensor(scores).log_softmax(-1))
    return torch.stack(rows)


def test_it_says_what_the_classifier_makes_of_the_members():
    members, _ = texts()
    made = Stacking.from_members(members, **learned(), temperatures=[2.0, 0.5])
    labels = torch.arange(12) % 3
    with torch.no_grad():
        output = made(input_ids=IDS, labels=labels)
    expected = by_hand(members, **learned(), temperatures=(2.0, 0.5))
    torch.testing.assert_close(output.logits, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(output.loss, -output.logits[range(12), labels].mean())


def test_what_was_fitted_is_what_the_ensemble_answers():
    members, _ = texts()
    with torch.no_grad():
        logits = torch.stack([members[0](IDS).logits, members[1](IDS).logits[:, [1, 2, 0]]])
    found = fit_stacking(logits, torch.arange(12) % 3)
    made = Stacking.from_members(members, weight=found.weight, bias=found.bias)
    torch.testing.assert_close(made(IDS).logits, found.log_probabilities(logits), rtol=1e-4, atol=1e-4)


def test_images_and_members_with_tokenizers_of_their_own():
    members, processors = images()
    made = Stacking.from_members(members, processors=processors, **learned())
    assert made(pixel_values=torch.randn(2, 3, 8, 8)).logits.exp().sum(-1).tolist() == pytest.approx([1, 1])
    members, _ = texts()
    both = [tiny_tokenizer(), lower_tokenizer()]
    made = Stacking.from_members(members, processors=both, **learned())
    inputs = made.processor("Hello.", return_tensors="pt")
    with torch.no_grad():
        own = [member(**one("Hello.", return_tensors="pt")).logits[0] for member, one in zip(members, both, strict=True)]
    x = torch.cat([own[0].log_softmax(-1), own[1][[1, 2, 0]].log_softmax(-1)])
    expected = (learned()["weight"] @ x + learned()["bias"]).log_softmax(-1)
    torch.testing.assert_close(made(**inputs).logits[0], expected, rtol=1e-4, atol=1e-4)


def test_saved_and_loaded_by_the_auto_class_it_answers_the_same_bits(tmp_path):
    folders = saved(*texts(), tmp_path / "members")
    made = Stacking.from_members(folders, **learned())
    made.save_pretrained(tmp_path / "out")
    again, info = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert type(again) is Stacking and not any(info.values())
    assert torch.equal(again(IDS).logits, made(IDS).logits)
    assert torch.equal(again.meta_learner.weight, learned()["weight"])
    assert set(load_file(tmp_path / "out" / "ensemble.safetensors")) == {"meta_learner.weight", "meta_learner.bias"}
    state = {key: value + 1 if key == "meta_learner.bias" else value for key, value in made.state_dict().items()}
    made.save_pretrained(tmp_path / "other", state_dict=state)
    again = Stacking.from_pretrained(tmp_path / "other")
    assert torch.equal(again.meta_learner.bias, learned()["bias"] + 1)


@pytest.mark.filterwarnings("error:.*no-op.*")
def test_a_new_one_is_the_mean_of_the_members_logits(tmp_path):
    Stacking.from_members(texts()[0], **learned()).save_pretrained(tmp_path)
    made = AutoModelForSequenceClassification.from_config(AutoConfig.from_pretrained(tmp_path)).eval()
    with torch.no_grad():
        each = [made.members[0](IDS).logits, made.members[1](IDS).logits[:, [1, 2, 0]]]
        torch.testing.assert_close(made(IDS).logits, (sum(one.log_softmax(-1) for one in each) / 2).log_softmax(-1))
    shapes = Stacking.from_pretrained(tmp_path, device_map="meta")
    assert all(weight.is_meta for weight in shapes.parameters())
    with torch.device("meta"):
        assert all(weight.is_meta for weight in Stacking(made.config).parameters())


def test_own_weights_that_are_missing_or_do_not_fit_are_refused_in_a_sentence(tmp_path):
    Stacking.from_members(texts()[0], **learned()).save_pretrained(tmp_path)
    path = tmp_path / "ensemble.safetensors"
    for tensors, message in (
        ({"meta_learner.weight": torch.zeros(3, 5), "meta_learner.bias": torch.zeros(3)}, r"shape \(3, 5\).*is \(3, 6\)"),
        ({"meta_learner.bias": torch.zeros(3)}, "meta_learner.weight has the shape none"),
    ):
        save_file(tensors, path)
        with pytest.raises(CompressionError, match=f"ensemble.safetensors: .*{message}"):
            Stacking.from_pretrained(tmp_path)
    path.write_bytes(b"no weights")
    with pytest.raises(CompressionError, match="ensemble.safetensors, the weights above the members, cannot be read"):
        Stacking.from_pretrained(tmp_path)
    path.unlink()
    with pytest.raises(CompressionError, match="ensemble.safetensors, the weights above the members, cannot be read"):
        Stacking.from_pretrained(tmp_path)


def test_what_does_not_fit_is_refused():
    members, _ = texts()
    for options, message in (
        ({"weight": torch.zeros(6, 3)}, r"weight has the shape \(6, 3\); for 2 members and 3 classes it is \(3, 6\)"),
        ({"bias": [0.0, 0.0]}, r"bias has the shape \(2,\)"),
        ({"bias": [0.0, float("nan"), 0.0]}, "bias has a number that is NaN"),
        ({"weights": [1, 2]}, "stacking: weights=.* has no meaning"),
        ({"combiner": "median"}, "stacking: combiner=.* has no meaning"),
        ({"on_nan": "leave_out"}, "stacking: on_nan='leave_out' has no meaning"),
    ):
        with pytest.raises(CompressionError, match=message):
            Stacking.from_members(members, **{**learned(), **options})
    with pytest.raises(CompressionError, match="stacking: members are loaded by AutoModelForCausalLM"):
        Stacking.from_members(writers()[0], **learned())
    members[1].classifier.bias.data.fill_(float("nan"))
    with pytest.raises(CompressionError, match="member 'y' answers NaN"):
        Stacking.from_members(members, names=["x", "y"], **learned())(IDS)
