"""Answers of several models as one, against sums by hand."""

import pytest
import torch
from transformers import BertForTokenClassification

from hf_compress import CompressionError
from hf_compress.ensembling.modelling.parallel import ParallelEnsemble
from hf_compress.ensembling.modelling.question_answering import ParallelEnsembleForQuestionAnswering
from tests.ensembling.folders import images, lower_tokenizer, named, sharper, sounds, texts
from tests.tiny import tiny_bert, tiny_reader, tiny_tokenizer

IDS = torch.randint(4, 60, (5, 7), generator=torch.Generator().manual_seed(0))


def probabilities(model, order, **inputs):
    """A member's, in the order a, b, c."""
    with torch.no_grad():
        return model(**inputs).logits.softmax(-1)[:, [order.index(label) for label in "abc"]]


def test_labels_are_matched_by_name_and_weights_are_shares():
    (first, second), _ = texts()
    made = ParallelEnsemble.from_members([first, second], weights=[1, 3])
    labels = torch.tensor([0, 1, 2, 0, 1])
    output = made(input_ids=IDS, labels=labels)
    expected = (probabilities(first, "abc", input_ids=IDS) + 3 * probabilities(second, "cab", input_ids=IDS)) / 4
    torch.testing.assert_close(output.logits.exp(), expected)
    torch.testing.assert_close(output.loss, -expected.log()[range(5), labels].mean())


def test_temperatures_divide_each_members_logits():
    members, _ = texts()
    made = ParallelEnsemble.from_members(members, temperatures=[2.0, 0.5], combiner="mean_logits")
    with torch.no_grad():
        expected = members[0](IDS).logits / 2 + members[1](IDS).logits[:, [1, 2, 0]] / 0.5
        torch.testing.assert_close(made(IDS).logits, (expected / 2).log_softmax(-1))


def test_several_labels_are_combined_one_by_one():
    members, _ = texts(orders=("abc", "abc"), problem_type="multi_label_classification")
    made = ParallelEnsemble.from_members(members)
    wanted = torch.tensor([[1.0, 0, 1]] * 5)
    with torch.no_grad():
        output = made(IDS, labels=wanted)
        expected = (members[0](IDS).logits.sigmoid() + members[1](IDS).logits.sigmoid()) / 2
    torch.testing.assert_close(output.logits.sigmoid(), expected)
    torch.testing.assert_close(output.loss, torch.nn.functional.binary_cross_entropy(expected, wanted))


def test_numbers_are_averaged_whatever_the_combiner():
    members = [sharper(tiny_bert(seed, num_labels=1)).eval() for seed in range(2)]
    made = ParallelEnsemble.from_members(members, weights=[1, 3], combiner="median")
    with torch.no_grad():
        expected = (members[0](IDS).logits + 3 * members[1](IDS).logits) / 4
        output = made(IDS, labels=torch.ones(5))
    torch.testing.assert_close(output.logits, expected)
    torch.testing.assert_close(output.loss, ((expected - 1) ** 2).mean())


def test_tokens_are_combined_each():
    members = [named(sharper(tiny_bert(seed, cls=BertForTokenClassification)), "abc") for seed in range(2)]
    made = ParallelEnsemble.from_members(members)
    labels = torch.randint(0, 3, IDS.shape)
    with torch.no_grad():
        output = made(IDS, labels=labels)
        expected = (members[0](IDS).logits.softmax(-1) + members[1](IDS).logits.softmax(-1)) / 2
    torch.testing.assert_close(output.logits.exp(), expected)
    torch.testing.assert_close(output.loss, -expected.gather(-1, labels[..., None]).log().mean())


def test_beginnings_and_ends_of_answers_are_combined_as_positions():
    members = [sharper(tiny_reader(seed)).eval() for seed in range(2)]
    made = ParallelEnsemble.from_members(members)
    assert type(made) is ParallelEnsembleForQuestionAnswering
    with torch.no_grad():
        output = made(IDS, start_positions=torch.zeros(5).long(), end_positions=torch.ones(5).long())
        start = sum(member(IDS).start_logits.softmax(-1) for member in members) / 2
        end = sum(member(IDS).end_logits.softmax(-1) for member in members) / 2
    torch.testing.assert_close(output.start_logits.exp(), start)
    torch.testing.assert_close(output.loss, -(start[:, 0].log() + end[:, 1].log()).mean() / 2)


def test_folders_of_the_class_that_answered_questions_before_load_as_its_own(tmp_path):
    made = ParallelEnsemble.from_members([sharper(tiny_reader(seed)).eval() for seed in range(2)])
    made.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    config = path.read_text().replace("ParallelEnsembleForQuestionAnswering", "ParallelEnsemble")
    assert "ForQuestionAnswering" not in config.replace("AutoModelForQuestionAnswering", "").replace("BertFor", "")
    path.write_text(config)
    again = ParallelEnsemble.from_pretrained(tmp_path)
    assert type(again) is ParallelEnsembleForQuestionAnswering
    with torch.no_grad():
        assert torch.equal(again(IDS).start_logits, made(IDS).start_logits)


@pytest.mark.parametrize(
    ("make", "name", "shape"), [(images, "pixel_values", (2, 3, 8, 8)), (sounds, "input_values", (2, 400))]
)
def test_images_and_sound(make, name, shape):
    members, processors = make()
    made = ParallelEnsemble.from_members(members, processors=processors)
    values = {name: torch.randn(shape)}
    expected = sum(probabilities(member, "abc", **values) for member in members) / 2
    torch.testing.assert_close(made(**values).logits.exp(), expected)
    assert made.main_input_name == name


def test_members_read_what_their_own_tokenizer_made():
    members, _ = texts(orders=("abc", "abc"))
    processors = [tiny_tokenizer(), lower_tokenizer()]
    made = ParallelEnsemble.from_members(members, processors=processors)
    written = ["ab c", "hello."]
    expected = sum(
        probabilities(member, "abc", **processor(written, padding=True, return_tensors="pt"))
        for member, processor in zip(members, processors, strict=True)
    )
    output = made(**made.processor(written, padding=True, return_tensors="pt"))
    torch.testing.assert_close(output.logits.exp(), expected / 2)
    with pytest.raises(CompressionError, match="remove_unused_columns=False"):
        made(IDS)


def test_a_member_that_answers_nan_is_named_or_left_out():
    members, _ = texts(orders=("abc", "abc"))
    members[1].classifier.bias.data.fill_(float("nan"))
    with pytest.raises(CompressionError, match="member 'bad' answers NaN"):
        ParallelEnsemble.from_members(members, names=["good", "bad"])(IDS)
    made = ParallelEnsemble.from_members(members, on_nan="leave_out")
    torch.testing.assert_close(made(IDS).logits.exp(), probabilities(members[0], "abc", input_ids=IDS))


def test_an_ensemble_can_be_a_member():
    members, _ = texts(orders=("abc", "cab"))
    inner = ParallelEnsemble.from_members(members)
    outer = ParallelEnsemble.from_members([inner, members[1]], names=["both", "one"], weights=[2, 1])
    flat = ParallelEnsemble.from_members(members, weights=[1, 2])
    torch.testing.assert_close(outer(IDS).logits, flat(IDS).logits)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": [1.0]}, "1 weights for 2 members"),
        ({"weights": [1, -1]}, "weight of member 'y' is -1"),
        ({"weights": [0, 0]}, "all weights are 0"),
        ({"weights": [1, float("nan")]}, "weight of member 'y' is nan"),
        ({"temperatures": [1]}, "temperatures has 1 entries for 2 members"),
        ({"temperatures": [1, 0]}, "temperature of member 'y' is 0"),
        ({"combiner": "mean_probabilites"}, "did you mean 'mean_probabilities'"),
        ({"combiner": {"nam": "median"}}, "has no name"),
        ({"on_nan": "ignore"}, "on_nan='ignore' is unknown"),
        ({"names": ["x", "x"]}, "two members are called 'x'"),
        ({"names": ["x"]}, "1 names for 2 members"),
    ],
)
def test_wrong_settings_are_refused(options, message):
    with pytest.raises(CompressionError, match=message):
        ParallelEnsemble.from_members(texts()[0], **{"names": ["x", "y"], **options})


def test_members_that_do_not_go_together_are_refused():
    (member, other), _ = texts(orders=("abc", "abd"))
    with pytest.raises(CompressionError, match="'y' has the labels 'a', 'b', 'd', member 'x' has 'a', 'b', 'c'"):
        ParallelEnsemble.from_members([member, other], names=["x", "y"])
    with pytest.raises(CompressionError, match="AutoModelForImageClassification, member 'x' by AutoModelForSequence"):
        ParallelEnsemble.from_members([member, images()[0][0]], names=["x", "y"])
    with pytest.raises(CompressionError, match="1 member"):
        ParallelEnsemble.from_members([member])
    several = named(tiny_bert(problem_type="multi_label_classification"), "abc")
    with pytest.raises(CompressionError, match="'y' is for several labels at once, member 'x' for one label"):
        ParallelEnsemble.from_members([member, several], names=["x", "y"])
    readers = [tiny_reader(seed) for seed in range(2)]
    with pytest.raises(CompressionError, match="another tokenizer than member 'x', and AutoModelForQuestionAnswering"):
        ParallelEnsemble.from_members(readers, names=["x", "y"], processors=[tiny_tokenizer(), lower_tokenizer()])
