"""A sum as one model, against the sum by hand."""

import pytest
import torch
from transformers import AutoModelForSequenceClassification, pipeline

from hf_compress import CompressionError, ModelTeacher, ResidualEnsemble
from tests.ensembling.folders import images, named, saved, texts, writers
from tests.tiny import tiny_bert, tiny_tokenizer

IDS = torch.randint(4, 60, (6, 7), generator=torch.Generator().manual_seed(0))
STEPS = [1.0, 0.5]


def by_hand(members, sizes=STEPS):
    """Row by row, in the order a, b, c."""
    with torch.no_grad():
        return torch.stack(
            [
                sizes[0] * members[0](row[None]).logits[0] + sizes[1] * members[1](row[None]).logits[0][[1, 2, 0]]
                for row in IDS
            ]
        )


def test_logits_are_the_sum_of_the_members_and_the_loss_is_theirs():
    members, _ = texts()
    made = ResidualEnsemble.from_members(members, step_sizes=STEPS)
    labels = torch.arange(6) % 3
    with torch.no_grad():
        output = made(input_ids=IDS, labels=labels)
    torch.testing.assert_close(output.logits, by_hand(members), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(output.loss, torch.nn.functional.cross_entropy(output.logits, labels))
    assert ResidualEnsemble.from_members(members).config.step_sizes == [1.0, 1.0]


def test_saved_and_loaded_by_the_auto_class_it_answers_the_same_bits_and_pipelines_do(tmp_path):
    members, processors = texts()
    made = ResidualEnsemble.from_members(saved(members, processors, tmp_path / "members"), step_sizes=STEPS)
    made.save_pretrained(tmp_path / "out")
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    assert type(again) is ResidualEnsemble and again.config.step_sizes == STEPS
    assert torch.equal(again(IDS).logits, made(IDS).logits)
    (said,) = pipeline("text-classification", str(tmp_path / "out"))(["ab c"], top_k=None)
    inputs = tiny_tokenizer()("ab c", return_tensors="pt")
    shares = dict(zip("abc", made(**inputs).logits.softmax(-1)[0].tolist(), strict=True))
    assert {one["label"]: pytest.approx(one["score"], abs=1e-6) for one in said} == shares
    teacher = ModelTeacher(model=str(tmp_path / "out")).load(members[0], torch.device("cpu"), tiny_tokenizer(), ("logits",))
    torch.testing.assert_close(teacher.signal({"input_ids": IDS}).logits, made(IDS).logits)


def test_numbers_are_added_too(tmp_path):
    members = [named(tiny_bert(seed, num_labels=1), "x") for seed in range(2)]
    made = ResidualEnsemble.from_members(members, step_sizes=STEPS)
    labels = torch.linspace(-1, 1, 6)
    with torch.no_grad():
        output = made(input_ids=IDS, labels=labels)
        wanted = members[0](IDS).logits + 0.5 * members[1](IDS).logits
    torch.testing.assert_close(output.logits, wanted)
    torch.testing.assert_close(output.loss, ((wanted[:, 0] - labels) ** 2).mean())
    made.save_pretrained(tmp_path)
    assert torch.equal(ResidualEnsemble.from_pretrained(tmp_path)(IDS).logits, made(IDS).logits)


def test_images_are_read_too():
    members, processors = images()
    made = ResidualEnsemble.from_members(members, processors=processors, step_sizes=[0.0, 2.0])
    pixels = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(made(pixel_values=pixels).logits, 2 * members[1](pixels).logits)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"step_sizes": [1.0]}, "step_sizes has 1 entries for 2 members"),
        ({"step_sizes": [1.0, float("inf")]}, "the step size of member '.*' is inf"),
        ({"weights": [1, 2]}, r"residual: weights=\[1, 2\] has no meaning for a sum"),
        ({"combiner": "median"}, "residual: combiner=.* has no meaning"),
    ],
)
def test_what_has_no_meaning_for_a_sum_is_refused(options, words):
    with pytest.raises(CompressionError, match=words):
        ResidualEnsemble.from_members(texts()[0], **options)


def test_language_models_are_refused():
    with pytest.raises(CompressionError, match="residual: members are for AutoModelForCausalLM"):
        ResidualEnsemble.from_members(writers()[0])
