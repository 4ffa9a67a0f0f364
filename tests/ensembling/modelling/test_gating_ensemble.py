"""Gates as part of a model, against each row's weights by hand."""

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from hf_compress import CompressionError, Gate, Gating
from tests.ensembling.folders import saved, texts, writers

IDS = torch.randint(4, 60, (12, 7), generator=torch.Generator().manual_seed(0))


def gate(hidden=None, classes=3):
    """One with weights that part the rows."""
    made = Gate(2, classes, hidden, torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    for tensor in (*made.parameters(), made.mean):
        tensor.data.copy_(torch.randn(tensor.shape, generator=generator))
    made.deviation.fill_(0.5)
    return made


@pytest.mark.parametrize("hidden", [None, 5])
@pytest.mark.parametrize("combiner", ["mean_probabilities", "mean_logits"])
def test_each_row_has_weights_of_its_own(hidden, combiner):
    members, _ = texts()
    made = Gating.from_members(members, gate=gate(hidden), combiner=combiner, temperatures=[1.0, 2.0])
    labels = torch.arange(12) % 3
    with torch.no_grad():
        output = made(IDS, labels=labels)
        seen = set()
        for row, found in zip(IDS, output.logits, strict=True):
            each = [members[0](row[None]).logits[0], members[1](row[None]).logits[0][[1, 2, 0]] / 2]
            each = [one.log_softmax(-1) for one in each]
            entropies = [-(one.exp() * one).sum() for one in each]
            x = (torch.cat([*each, torch.stack(entropies)]) - made.gate.mean) / 0.5
            if hidden:
                x = (made.gate.inner.weight @ x + made.gate.inner.bias).clamp_min(0)
            first, second = (made.gate.outer.weight @ x + made.gate.outer.bias).softmax(-1)
            expected = first * each[0].exp() + second * each[1].exp()
            if combiner == "mean_logits":
                expected = (first * each[0] + second * each[1]).softmax(-1)
            torch.testing.assert_close(found.exp(), expected, rtol=1e-4, atol=1e-5)
            seen.add(round(float(first), 3))
    assert len(seen) > 6
    torch.testing.assert_close(output.loss, -output.logits[range(12), labels].mean())


def test_saved_and_loaded_by_the_auto_class_it_answers_the_same_bits(tmp_path):
    folders = saved(*texts(), tmp_path / "members")
    made = Gating.from_members(folders, gate=gate(5), combiner="median")
    made.save_pretrained(tmp_path / "out")
    again, info = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert type(again) is Gating and not any(info.values()) and again.config.hidden == 5
    assert torch.equal(again(IDS).logits, made(IDS).logits)
    for name, own in gate(5).state_dict().items():
        assert torch.equal(again.gate.state_dict()[name], own), name


def test_what_does_not_fit_is_refused():
    members, _ = texts()
    with pytest.raises(
        CompressionError, match=r"gate's mean has the shape \(10,\); for 2 members and 3 classes it is \(8,\)"
    ):
        Gating.from_members(members, gate=gate(classes=4))
    with pytest.raises(CompressionError, match="gating: weights=.* has no meaning"):
        Gating.from_members(members, gate=gate(), weights=[1, 2])
    with pytest.raises(CompressionError, match="gating: members are loaded by AutoModelForCausalLM"):
        Gating.from_members(writers()[0], gate=gate())
