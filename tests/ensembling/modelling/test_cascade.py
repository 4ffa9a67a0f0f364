"""Cascades against a loop that asks one row after the other."""

import copy

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from hf_compress import CompressionError, ParallelEnsemble
from hf_compress.ensembling.confidence import Confidence
from hf_compress.ensembling.modelling.cascade import Cascade
from tests.ensembling.folders import images, lower_tokenizer, named, saved, sharper, sounds, texts, writers
from tests.tiny import tiny_bert, tiny_tokenizer

IDS = torch.randint(4, 60, (12, 7), generator=torch.Generator().manual_seed(0))


def three(orders=("abc", "cab", "bca")):
    return texts((tiny_tokenizer,) * len(orders), orders)[0]


def row_by_row(members, orders, thresholds, confidence, batches):
    """The answer to each row alone, in the order of the first, and who gave it; `batches`: what each member reads."""
    answers, stages = [], []
    for row in range(len(next(iter(batches[0].values())))):
        for stage, (member, order) in enumerate(zip(members, orders, strict=True)):
            with torch.no_grad():
                logits = member(**{key: value[row : row + 1] for key, value in batches[stage].items()}).logits[0]
            found = logits[[order.index(label) for label in orders[0]]].log_softmax(-1)
            if stage == len(members) - 1 or confidence.score(found) >= thresholds[stage]:
                break
        answers.append(found)
        stages.append(stage)
    return torch.stack(answers), torch.tensor(stages)


@pytest.mark.parametrize("name", sorted(Confidence.available()))
@pytest.mark.parametrize("level", [0.5, 0.7])
def test_rows_are_answered_by_the_first_member_that_is_sure(name, level):
    members, confidence = three(), Confidence.create(name)
    with torch.no_grad():  # thresholds that part the rows of each stage
        scores = [confidence.score(member(IDS).logits.log_softmax(-1)).quantile(level).item() for member in members[:2]]
    mask = torch.ones_like(IDS)
    mask[3:, 5:] = 0
    inputs = {"input_ids": IDS, "attention_mask": mask}
    expected, who = row_by_row(members, ["abc", "cab", "bca"], scores, confidence, [inputs] * 3)
    made = Cascade.from_members(members, thresholds=scores, confidence=name)
    labels = torch.arange(12) % 3
    with torch.no_grad():
        output = made(**inputs, labels=labels, output_stages=True)
    assert torch.equal(output.stages, who) and len(set(who.tolist())) == 3
    torch.testing.assert_close(output.logits, expected)
    torch.testing.assert_close(output.loss, -expected[range(12), labels].mean())
    assert made(**inputs).keys() == {"logits"} and made(**inputs, return_dict=False)[0].shape == (12, 3)


def test_each_member_is_asked_about_the_rows_that_are_left_and_not_at_all_about_none():
    members, seen = three(), []
    for member in members:
        member.register_forward_pre_hook(lambda own, args, kwargs: seen.append(len(kwargs["input_ids"])), with_kwargs=True)
    Cascade.from_members(members, names=list("xyz"), thresholds=[2.0, 0.0])(IDS)
    assert seen == [12, 12]
    seen.clear()
    made = Cascade.from_members(members, names=list("xyz"), thresholds=[0.0, 0.0], costs=[1, 2, 10])
    assert made(IDS[:0]).logits.shape == (0, 3) and seen == []
    made.config.thresholds = [0.5, 0.9]
    stages = made(IDS, output_stages=True).stages
    assert seen == [12, int((stages > 0).sum()), int((stages > 1).sum())][: len(seen)]
    assert made.account(torch.tensor([0, 0, 1, 2])) == pytest.approx((1 + 1 + 3 + 13) / 4)


@pytest.mark.parametrize(
    ("make", "name", "shape"), [(images, "pixel_values", (6, 3, 8, 8)), (sounds, "input_values", (6, 400))]
)
def test_images_and_sound(make, name, shape):
    members, processors = make()
    values = {name: torch.randn(shape, generator=torch.Generator().manual_seed(0))}
    confidence = Confidence.create("margin")
    with torch.no_grad():
        threshold = confidence.score(members[0](**values).logits.log_softmax(-1)).quantile(0.5).item()
    made = Cascade.from_members(members, processors=processors, thresholds=[threshold], confidence="margin")
    expected, who = row_by_row(members, ["abc", "abc"], [threshold], confidence, [values] * 2)
    output = made(**values, output_stages=True)
    torch.testing.assert_close(output.logits, expected)
    assert torch.equal(output.stages, who) and set(who.tolist()) == {0, 1}


def test_members_with_tokenizers_of_their_own_read_the_same_rows():
    members, _ = texts()
    processors = [tiny_tokenizer(), lower_tokenizer()]
    written = ["ab c", "hello.", "x", "a long one, this"]
    own = [processor(written, padding=True, return_tensors="pt") for processor in processors]
    score = Confidence.create("maximum_probability")
    with torch.no_grad():
        threshold = score.score(members[0](**own[0]).logits.log_softmax(-1)).quantile(0.5).item()
    made = Cascade.from_members(members, processors=processors, thresholds=[threshold])
    expected, who = row_by_row(members, ["abc", "cab"], [threshold], score, own)
    output = made(**made.processor(written, padding=True, return_tensors="pt"), output_stages=True)
    torch.testing.assert_close(output.logits, expected)
    assert torch.equal(output.stages, who) and set(who.tolist()) == {0, 1}
    with pytest.raises(CompressionError, match="member 'model-1' got 4 rows, member 'model-0' 1"):
        made = Cascade.from_members(members, names=["model-0", "model-1"], processors=processors, thresholds=[0.5])
        inputs = made.processor(written, padding=True, return_tensors="pt")
        made(**{**inputs, "input_ids": inputs["input_ids"][:1]})


def test_temperatures_come_before_the_confidence():
    members, _ = texts()
    made = Cascade.from_members(members, thresholds=[0.5], temperatures=[1e4, 2.0])
    with torch.no_grad():
        expected = (members[1](IDS).logits[:, [1, 2, 0]] / 2).log_softmax(-1)
        torch.testing.assert_close(made(IDS).logits, expected)


def test_rows_with_nan_are_refused_or_go_on():
    members = three(("abc",) * 3)
    broken = copy.deepcopy(members)
    broken[0].bert.embeddings.word_embeddings.weight.data[IDS[0, 0]] = float("nan")
    row = (IDS[0, 0] == IDS).any(-1)
    with pytest.raises(CompressionError, match="member 'x' answers NaN"):
        Cascade.from_members(broken, names=list("xyz"), thresholds=[0.0, 0.0])(IDS)
    made = Cascade.from_members(broken, thresholds=[0.0, 0.0], on_nan="leave_out")
    output = made(IDS, output_stages=True)
    assert torch.equal(output.stages, row.long()) and 0 < row.sum() < 12
    with torch.no_grad():
        torch.testing.assert_close(output.logits[row], members[1](IDS[row]).logits.log_softmax(-1))
    # The last member's NaN: what an earlier one said stays, and without one it is refused.
    made = Cascade.from_members([members[0], broken[0]], thresholds=[2.0], on_nan="leave_out")
    assert torch.equal(made(IDS, output_stages=True).stages, (~row).long())
    made = Cascade.from_members([broken[0], copy.deepcopy(broken[0])], thresholds=[0.0], on_nan="leave_out")
    with pytest.raises(CompressionError, match="row 0 is answered with NaN by every member"):
        made(IDS)


def test_saved_and_loaded_by_the_auto_class_it_answers_the_same_bits(tmp_path):
    folders = saved(*texts(), tmp_path / "members")
    made = Cascade.from_members(folders, thresholds=[0.6], confidence="entropy", costs=[1, 5])
    made.save_pretrained(tmp_path / "out")
    again, info = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert type(again) is Cascade and not any(info.values())
    assert torch.equal(again(IDS).logits, made(IDS).logits)
    assert (again.config.thresholds, again.config.confidence, again.config.costs) == ([0.6], "entropy", [1, 5])
    outer = ParallelEnsemble.from_members([tmp_path / "out", folders[1]])
    outer.save_pretrained(tmp_path / "outer")
    assert isinstance(ParallelEnsemble.from_pretrained(tmp_path / "outer").members[0], Cascade)


def test_gradients_reach_the_members_that_answer():
    members, _ = texts()
    made = Cascade.from_members(members, thresholds=[0.0])
    made(IDS, labels=torch.zeros(12).long()).loss.backward()
    assert members[0].classifier.weight.grad.abs().sum() > 0 and members[1].classifier.weight.grad is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "0 thresholds for 2 members"),
        ({"thresholds": [0.5, 0.5]}, "2 thresholds for 2 members"),
        ({"thresholds": [1.5]}, "threshold of member 'x' is 1.5; it must be in"),
        ({"thresholds": [float("nan")]}, "threshold of member 'x' is nan"),
        ({"thresholds": [0.5], "confidence": "entropie"}, "did you mean 'entropy'"),
        ({"thresholds": [0.5], "costs": [1]}, "1 costs for 2 members"),
        ({"thresholds": [0.5], "costs": [1, -1]}, "cost of member 'y' is -1"),
        ({"thresholds": [0.5], "weights": [1, 2]}, "cascade: weights=.* has no meaning"),
        ({"thresholds": [0.5], "combiner": "median"}, "cascade: combiner=.* has no meaning"),
    ],
)
def test_wrong_settings_are_refused(options, message):
    with pytest.raises(CompressionError, match=message):
        Cascade.from_members(texts()[0], names=["x", "y"], **options)


def test_members_that_choose_no_class_for_a_row_are_refused():
    with pytest.raises(CompressionError, match="loaded by AutoModelForCausalLM.*a ParallelEnsemble takes others"):
        Cascade.from_members(writers()[0], thresholds=[0.5])
    several = texts(orders=("abc", "abc"), problem_type="multi_label_classification")[0]
    with pytest.raises(CompressionError, match="for several labels at once"):
        Cascade.from_members(several, thresholds=[0.5])
    numbers = [tiny_bert(seed, num_labels=1) for seed in range(2)]
    with pytest.raises(CompressionError, match=r"numbers \(regression\)"):
        Cascade.from_members(numbers, thresholds=[0.5])
    made = Cascade.from_members([named(sharper(tiny_bert(seed)), "abc") for seed in range(2)], thresholds=[0.5])
    with pytest.raises(CompressionError, match="does not know what its members cost"):
        made.account(torch.zeros(2).long())
