"""Members as one, against members asked one after the other."""

import copy

import pytest
import torch
from transformers import (
    DistilBertConfig,
    DistilBertForSequenceClassification,
    ResNetConfig,
    ResNetForImageClassification,
)

from hf_compress import CompressionError, ParallelEnsemble, Stacking
from tests.ensembling.folders import images, lower_tokenizer, named, sharper, sounds, texts, writers
from tests.tiny import tiny_bert, tiny_reader, tiny_tokenizer

IDS = torch.randint(4, 60, (5, 7), generator=torch.Generator().manual_seed(0))
MASK = torch.ones_like(IDS)
MASK[2:, 4:] = 0


def distil(seed):
    torch.manual_seed(seed)
    config = DistilBertConfig(vocab_size=64, dim=16, hidden_dim=32, n_layers=2, n_heads=2, num_labels=3)
    return named(sharper(DistilBertForSequenceClassification(config)), "abc")


def resnet(seed):
    torch.manual_seed(seed)
    config = ResNetConfig(embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic", num_labels=3)
    return named(ResNetForImageClassification(config), "abc")


MEMBERS = {
    "bert": (lambda: texts()[0], {"input_ids": IDS, "attention_mask": MASK}),
    "distilbert": (lambda: [distil(seed) for seed in range(3)], {"input_ids": IDS, "attention_mask": MASK}),
    "reader": (lambda: [sharper(tiny_reader(seed)).eval() for seed in range(2)], {"input_ids": IDS}),
    "vit": (lambda: images()[0], {"pixel_values": torch.linspace(-1, 1, 576).view(3, 3, 8, 8)}),
    "resnet": (
        lambda: [resnet(seed) for seed in range(2)],
        {"pixel_values": torch.linspace(-1, 1, 6144).view(2, 3, 32, 32)},
    ),
    "wav2vec2": (lambda: sounds()[0], {"input_values": torch.linspace(-1, 1, 1200).view(3, 400).sin()}),
}


def answers(made, **inputs):
    with torch.no_grad():
        return [value for value in made(**inputs).values() if value.is_floating_point()]


@pytest.mark.parametrize("kind", MEMBERS)
def test_stacked_members_answer_as_one_after_the_other(kind):
    make, inputs = MEMBERS[kind]
    made = ParallelEnsemble.from_members(make(), execution="sequential")
    expected = answers(made, **inputs)
    made.set_execution("stacked")
    for _ in range(2):  # when they are stacked, and after
        for found, wanted in zip(answers(made, **inputs), expected, strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    assert made.asking.stack is not None


def test_weights_temperatures_and_kinds_above_members_are_the_same():
    members, _ = texts()
    for kind, options in (
        (ParallelEnsemble, {"weights": [1, 3], "temperatures": [2.0, 0.5], "combiner": "mean_logits"}),
        (Stacking, {"weight": torch.linspace(-1, 1, 18).view(3, 6), "bias": torch.zeros(3)}),
    ):
        made = kind.from_members(members, execution="sequential", **options)
        (expected,) = answers(made, input_ids=IDS)
        (found,) = answers(made.set_execution("stacked"), input_ids=IDS)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_no_weight_is_there_twice():
    members, _ = texts()
    made = ParallelEnsemble.from_members(members, execution="stacked")
    answers(made, input_ids=IDS)
    for name, whole in made.asking.stack.weights.items():
        for row, member in zip(whole, members, strict=True):
            own = dict([*member.named_parameters(), *member.named_buffers()])[name]
            assert (
                own.data_ptr() == row.data_ptr() and own.untyped_storage().data_ptr() == whole.untyped_storage().data_ptr()
            )


@pytest.mark.parametrize("change", ["load_state_dict", "assign", "to", "another module", "without weights", "in place"])
def test_weights_that_change_are_followed(change):
    members, _ = texts()
    made = ParallelEnsemble.from_members(members, execution="stacked")
    answers(made, input_ids=IDS)
    other = sharper(tiny_bert(9)).eval()
    if change in ("load_state_dict", "assign"):
        members[1].load_state_dict(other.state_dict(), assign=change == "assign")
    elif change == "to":
        made.to(torch.float64)
    elif change == "another module":
        members[0].classifier = copy.deepcopy(other.classifier)
    elif change == "without weights":
        for member in members:
            member.bert.pooler.activation = torch.nn.Tanh()
            member.dropout = torch.nn.ReLU()
    else:
        with torch.no_grad():
            members[1].classifier.weight *= -1
    found = answers(made, input_ids=IDS)
    torch.testing.assert_close(found, answers(made.set_execution("sequential"), input_ids=IDS), rtol=1e-5, atol=1e-5)


def test_gradients_and_training_go_one_after_the_other_to_the_members_weights():
    """Also after members were stacked in inference mode, whose tensors cannot be trained."""
    members, _ = texts()
    expected = copy.deepcopy(members)
    made = ParallelEnsemble.from_members(members, execution="stacked")
    with torch.inference_mode():
        made(IDS)
    labels = torch.tensor([0, 1, 2, 0, 1])
    made(IDS, labels=labels).loss.backward()
    ParallelEnsemble.from_members(expected, execution="sequential")(IDS, labels=labels).loss.backward()
    for one, other in zip(members, expected, strict=True):
        for own, wanted in zip(one.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(own.grad, wanted.grad)
    seen = []
    for member in members:
        member.register_forward_pre_hook(lambda *_: seen.append(1))
    with torch.no_grad():
        made.train()(IDS)
    assert len(seen) == 2


def test_a_member_that_answers_nan_is_named_or_left_out():
    members, _ = texts(orders=("abc", "abc"))
    members[1].classifier.bias.data.fill_(float("nan"))
    made = ParallelEnsemble.from_members(members, names=["good", "bad"], execution="stacked")
    with pytest.raises(CompressionError, match="member 'bad' answers NaN"), torch.no_grad():
        made(IDS)
    made = ParallelEnsemble.from_members(members, on_nan="leave_out", execution="stacked")
    with torch.no_grad():
        torch.testing.assert_close(made(IDS).logits, members[0](IDS).logits.log_softmax(-1))


def test_saved_members_are_theirs_alone(tmp_path):
    members, _ = texts()
    made = ParallelEnsemble.from_members(members, execution="stacked")
    expected = answers(made, input_ids=IDS)
    made.save_pretrained(tmp_path / "out")
    sizes = [(tmp_path / "out" / f"member-{k}" / "model.safetensors").stat().st_size for k in range(2)]
    alone = tiny_bert()
    alone.save_pretrained(tmp_path / "alone")
    assert abs(sizes[0] - (tmp_path / "alone" / "model.safetensors").stat().st_size) < 1000 and sizes[0] == sizes[1]
    again = ParallelEnsemble.from_pretrained(tmp_path / "out")
    assert again.config.execution == "stacked"
    torch.testing.assert_close(answers(again, input_ids=IDS), expected, rtol=1e-5, atol=1e-5)


def changed_head():
    first, second = texts(orders=("abc", "abc"))[0]
    second.dropout = torch.nn.Identity()
    return [first, second]


def shared():
    first, second = texts(orders=("abc", "abc"))[0]
    second.bert = first.bert
    return [first, second]


def packed():
    members = texts(orders=("abc", "abc"))[0]
    members[1].config.quantization_config = {"quant_method": "compressed-tensors"}
    return members


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: [*texts(orders=("abc",))[0], distil(0)], "member 'y' is built of other modules than member 'x'"),
        (
            lambda: [texts()[0][0], texts(type_vocab_size=3)[0][1]],
            "token_type_embeddings.weight of member 'y' has another shape",
        ),
        (lambda: [texts()[0][0], texts()[0][1].double()], "of member 'y' has another type"),
        (lambda: [texts()[0][0], texts(hidden_act="relu")[0][1]], "built of other modules"),
        (lambda: [texts()[0][0], texts(layer_norm_eps=0.1)[0][1]], "layer_norm_eps of member 'y' is another"),
        (changed_head, "built of other modules"),
        (shared, "two weights of its members are one"),
        (packed, "member 'y' has packed weights"),
        (lambda: [ParallelEnsemble.from_members(texts()[0])] * 2, "two weights"),
        (lambda: [ParallelEnsemble.from_members(texts()[0]) for _ in range(2)], "member 'x' is an ensemble itself"),
    ],
)
def test_members_that_cannot_be_one_are_refused_in_a_sentence(make, message):
    made = ParallelEnsemble.from_members(make(), names=["x", "y"])
    with pytest.raises(CompressionError, match=rf"execution='stacked': .*{message}.*; write auto or sequential"):
        made.set_execution("stacked")
    assert made.config.execution == "auto"
    made.config.execution = "stacked"
    with pytest.raises(CompressionError, match=message), torch.no_grad():
        made(IDS)


def test_members_with_processors_of_their_own_are_refused():
    made = ParallelEnsemble.from_members(texts()[0], names=["x", "y"], processors=[tiny_tokenizer(), lower_tokenizer()])
    with pytest.raises(CompressionError, match="member 'y' reads other inputs than member 'x'"):
        made.set_execution("stacked")


def test_a_forward_pass_that_looks_at_values_is_refused_in_a_sentence():
    class Looks(type(texts()[0][0])):
        def forward(self, input_ids=None):
            output = super().forward(input_ids)
            if output.logits.sum() > 1e9:
                output.logits = output.logits * 0
            return output

    members = texts(orders=("abc", "abc"))[0]
    for member in members:
        member.__class__ = Looks
    made = ParallelEnsemble.from_members(members, auto_class="AutoModelForSequenceClassification", execution="stacked")
    with (
        pytest.raises(CompressionError, match="cannot be done for several models at once by torch.func.vmap"),
        torch.no_grad(),
    ):
        made(IDS)
    expected = answers(made.set_execution("sequential"), input_ids=IDS)
    torch.testing.assert_close(answers(made.set_execution("auto"), input_ids=IDS), expected)
    assert "vmap" in made.asking.refused["stacked"]


def test_members_that_compute_differently_are_refused_when_they_are_stacked():
    """Numbers on modules are seen by no config."""
    members = texts(orders=("abc", "abc"))[0]
    members[1].bert.encoder.layer[0].attention.self.scaling *= 2
    made = ParallelEnsemble.from_members(members, execution="stacked", combiner="mean_logits")
    with pytest.raises(CompressionError, match="differ from those of members asked one by one by .* of the largest"):
        answers(made, input_ids=IDS)


def test_a_member_with_a_hook_has_a_pass_of_its_own():
    """Also where it comes after the members were stacked: it would be called for all of them, or for none."""
    members = texts(orders=("abc", "abc"))[0]
    made = ParallelEnsemble.from_members(members, names=["x", "y"], execution="stacked")
    expected = answers(made, input_ids=IDS)
    seen = []
    handle = members[1].classifier.register_forward_hook(lambda module, args, output: seen.append(output))
    with pytest.raises(
        CompressionError, match="'y' has a forward hook, and no pass of its own in which it would be called"
    ):
        answers(made, input_ids=IDS)
    made.set_execution("auto")
    torch.testing.assert_close(answers(made, input_ids=IDS), expected, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(seen[-1], members[1](IDS).logits)
    handle.remove()
    torch.testing.assert_close(answers(made.set_execution("stacked"), input_ids=IDS), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("execution", ["stacked", "devices"])
def test_members_that_write_are_asked_one_after_the_other(execution):
    with pytest.raises(CompressionError, match=f"execution='{execution}': members that write keep a cache each"):
        ParallelEnsemble.from_members(writers()[0], execution=execution)
