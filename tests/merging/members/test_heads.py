"""Members with other labels."""

import json

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForSequenceClassification

from hf_compress._errors import CompressionError
from hf_compress.merging.configuration import Heads
from hf_compress.merging.members.heads import resolve_heads
from tests.merging.checkpoints import save
from tests.tiny import tiny_bert, tiny_llama, tiny_vit

HEAD = ["classifier.bias", "classifier.weight"]


def _named(model, names):
    model.config.id2label = dict(enumerate(names))
    model.config.label2id = {name: index for index, name in enumerate(names)}
    return model


@pytest.fixture(params=[tiny_bert, tiny_vit], ids=["bert", "vit"])
def sources(request, tmp_path):
    return [
        save(tmp_path / "base", request.param(seed=0, num_labels=3)),
        save(tmp_path / "moods", _named(request.param(seed=1, num_labels=2), ["good", "other"])),
        save(tmp_path / "topics", _named(request.param(seed=2, num_labels=4), ["sport", "art", "food", "other"])),
    ]


MEMBERS = ["moods", "topics"]


def test_other_labels_are_refused_with_both_shapes(sources):
    with pytest.raises(CompressionError, match=r"classifier.bias is \[3\] in base and \[2\] in moods: their labels differ"):
        resolve_heads(sources, MEMBERS, Heads())


def test_the_head_of_one_member_is_taken_with_its_labels(sources):
    resolved = resolve_heads(sources, MEMBERS, Heads(policy="take", member="topics"))
    assert sorted(resolved.copied) == HEAD
    for number, source in enumerate(resolved.sources):
        for name in source.infos:
            assert tuple(source.read(name).shape) == source.infos[name].shape
            assert torch.equal(source.read(name), sources[2 if name in HEAD else number].read(name))
        assert source.config["id2label"] == {"0": "sport", "1": "art", "2": "food", "3": "other"}


def test_a_dropped_head_is_gone_and_the_rest_stays(sources):
    resolved = resolve_heads(sources, MEMBERS, Heads(policy="drop"))
    assert sorted(resolved.dropped) == HEAD
    for before, after in zip(sources, resolved.sources, strict=True):
        assert set(before.infos) - set(after.infos) == set(HEAD)
        assert after.config == before.config


def test_concatenated_heads_compute_what_each_head_computes(sources, tmp_path):
    resolved = resolve_heads(sources, MEMBERS, Heads(policy="concatenate"))
    merged = resolved.sources[0]
    assert merged.config["id2label"] == {
        "0": "good",
        "1": "moods/other",
        "2": "sport",
        "3": "art",
        "4": "food",
        "5": "topics/other",
    }
    assert merged.config["label2id"]["topics/other"] == 5
    hidden = torch.randn(3, 32, generator=torch.Generator().manual_seed(0))
    outputs = [hidden @ source.read(HEAD[1]).T + source.read(HEAD[0]) for source in sources[1:]]
    both = hidden @ merged.read(HEAD[1]).T + merged.read(HEAD[0])
    # The same products in a wider matrix; kernels may sum in another order.
    torch.testing.assert_close(both, torch.cat(outputs, dim=1), rtol=1e-5, atol=1e-6)


def test_a_written_multi_head_model_answers_like_both_members(tmp_path):
    one, two = tiny_bert(seed=0, num_labels=2), tiny_bert(seed=1, num_labels=4)
    two.bert.load_state_dict(one.bert.state_dict())  # one encoder, two heads
    members = [save(tmp_path / "one", one), save(tmp_path / "two", two)]
    merged = resolve_heads(members, ["one", "two"], Heads(policy="concatenate")).sources[0]
    out = tmp_path / "out"
    out.mkdir()
    (out / "config.json").write_text(json.dumps(merged.config))
    save_file({name: merged.read(name) for name in merged.infos}, out / "model.safetensors", metadata={"format": "pt"})
    model, info = AutoModelForSequenceClassification.from_pretrained(out, output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert model.config.num_labels == 6
    ids = torch.arange(3, 11)[None]
    with torch.no_grad():
        both = torch.cat([one.eval()(input_ids=ids).logits, two.eval()(input_ids=ids).logits], dim=1)
        # The same products in a wider matrix; kernels may sum in another order.
        torch.testing.assert_close(model.eval()(input_ids=ids).logits, both, rtol=1e-5, atol=1e-6)


def test_equal_labels_and_models_without_labels_change_nothing(tmp_path):
    same = [save(tmp_path / f"b{seed}", tiny_bert(seed=seed)) for seed in range(2)]
    assert resolve_heads(same, ["b0", "b1"], Heads()).sources == tuple(same)
    llamas = [save(tmp_path / f"l{seed}", tiny_llama(seed=seed, vocab_size=60 + seed)) for seed in range(2)]
    assert resolve_heads(llamas, ["l0", "l1"], Heads()).sources == tuple(llamas)


def test_a_policy_acts_on_equal_labels_too_and_is_refused_where_there_is_no_head(tmp_path):
    same = [save(tmp_path / f"b{seed}", tiny_bert(seed=seed)) for seed in range(2)]
    taken = resolve_heads(same, ["b0", "b1"], Heads(policy="take", member="b1"))
    assert torch.equal(taken.sources[0].read(HEAD[1]), same[1].read(HEAD[1]))
    llamas = [save(tmp_path / f"l{seed}", tiny_llama(seed=seed)) for seed in range(2)]
    with pytest.raises(CompressionError, match="heads: no tensor of l0 follows a number of labels"):
        resolve_heads(llamas, ["l0", "l1"], Heads(policy="take", member="l1"))


def test_the_same_labels_in_another_order_are_refused(tmp_path):
    one = save(tmp_path / "one", _named(tiny_bert(), ["bad", "so-so", "good"]))
    two = save(tmp_path / "two", _named(tiny_bert(seed=1), ["good", "so-so", "bad"]))
    with pytest.raises(CompressionError, match="label 'good' is row 2 of the head in one and row 0 in two"):
        resolve_heads([save(tmp_path / "base", tiny_bert()), one, two], ["one", "two"], Heads())


@pytest.mark.parametrize(
    ("heads", "kind"),
    [(Heads(policy="take", member="two"), "multi_label_classification"), (Heads(policy="concatenate"), None)],
)
def test_the_kind_of_problem_comes_with_the_head(tmp_path, heads, kind):
    one = save(tmp_path / "one", tiny_bert(problem_type="single_label_classification"))
    two = save(tmp_path / "two", tiny_bert(seed=1, problem_type="multi_label_classification"))
    assert resolve_heads([one, two], ["one", "two"], heads).sources[0].config.get("problem_type") == kind


def test_labels_that_differ_only_in_name_are_reported_or_follow_the_policy(tmp_path):
    one = save(tmp_path / "one", _named(tiny_bert(num_labels=2), ["yes", "no"]))
    two = save(tmp_path / "two", _named(tiny_bert(seed=1, num_labels=2), ["cat", "dog"]))
    assert resolve_heads([one, two], ["one", "two"], Heads()).report["label_names_differ"]
    joined = resolve_heads([one, two], ["one", "two"], Heads(policy="concatenate"))
    assert joined.report["labels"] == ["yes", "no", "cat", "dog"]
    assert joined.sources[0].infos["classifier.weight"].shape == (4, 32)


def test_an_unknown_member_and_one_without_a_head_are_refused(sources, tmp_path):
    with pytest.raises(CompressionError, match="unknown heads.member 'topic'; did you mean 'topics'"):
        resolve_heads(sources, MEMBERS, Heads(policy="take", member="topic"))
    bare = save(tmp_path / "bare", tiny_bert().bert)
    headed = [save(tmp_path / f"b{labels}", tiny_bert(num_labels=labels)) for labels in (2, 4)]
    with pytest.raises(CompressionError, match="bare has no classifier.bias, so its head cannot be kept"):
        resolve_heads([bare, *headed], ["b2", "b4"], Heads(policy="take", member="bare"))
