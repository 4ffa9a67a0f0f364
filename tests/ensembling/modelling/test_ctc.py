"""Recordings that several models spell frame by frame, against sums by hand."""

import pytest
import torch
from transformers import AutoModelForCTC

from hf_compress import CompressionError, ParallelEnsemble
from hf_compress.ensembling.modelling.ctc import ParallelEnsembleForCTC
from tests.ensembling.folders import lower_tokenizer, sharper, spellers
from tests.tiny import tiny_listener, tiny_tokenizer

WAVES = torch.randn(2, 480, generator=torch.Generator().manual_seed(0))
MASK = torch.tensor([[1] * 480, [1] * 320 + [0] * 160])
LABELS = torch.tensor([[3, 5, 3], [4, -100, -100]])


@pytest.fixture(scope="module")
def pair():
    members, processors = spellers()
    return members, ParallelEnsemble.from_members(members, processors=processors, weights=[1, 2])


def test_frames_are_combined_each_and_spelled_as_by_hand(pair):
    members, made = pair
    assert type(made) is ParallelEnsembleForCTC
    with torch.no_grad():
        shares = [member(WAVES, attention_mask=MASK).logits.softmax(-1) for member in members]
        found = made(WAVES, attention_mask=MASK).logits
    expected = (shares[0] + 2 * shares[1]) / 3
    torch.testing.assert_close(found.exp(), expected)
    assert made.processor.batch_decode(found.argmax(-1)) == made.processor.batch_decode(expected.argmax(-1))
    assert len(set(found.argmax(-1).flatten().tolist())) > 1


def test_the_loss_is_that_of_all_paths_through_the_combined_frames(pair):
    """The second recording ends before the batch does; the sum over its paths goes over all of them."""
    import itertools

    members, made = pair
    with torch.no_grad():
        alone = [member(WAVES[1:, :60]).logits.softmax(-1)[0] for member in members]
        shares = (alone[0] + 2 * alone[1]) / 3
        output = made(WAVES[1:, :60], labels=LABELS[1:, :1])
    paths = itertools.product(range(8), repeat=len(shares))
    spelled = [path for path in paths if [k for k, _ in itertools.groupby(path) if k] == [4]]
    total = sum(float(shares[range(len(shares)), list(path)].prod()) for path in spelled)
    assert float(output.loss) == pytest.approx(-torch.tensor(total).log().item(), rel=1e-4)


def test_frames_behind_the_end_do_not_count(pair):
    _, made = pair
    with torch.no_grad():
        both = made(WAVES, attention_mask=MASK, labels=LABELS).loss
        each = [
            made(WAVES[:1], labels=LABELS[:1]).loss,
            made(WAVES[1:, :320], attention_mask=MASK[1:, :320], labels=LABELS[1:, :1]).loss,
        ]
    torch.testing.assert_close(both, torch.stack(each).mean(), rtol=1e-4, atol=0)


def test_a_member_twice_has_that_members_loss(pair):
    members, _ = pair
    made = ParallelEnsemble.from_members([members[0], members[0]], names=["one", "again"])
    with torch.no_grad():
        expected = members[0](WAVES, attention_mask=MASK, labels=LABELS).loss
        torch.testing.assert_close(made(WAVES, attention_mask=MASK, labels=LABELS).loss, expected)
    assert members[0](WAVES, attention_mask=MASK, labels=LABELS).loss > 0  # and it has its own way back


def test_it_comes_back_by_the_auto_class(pair, tmp_path):
    _, made = pair
    made.save_pretrained(tmp_path)
    again = AutoModelForCTC.from_pretrained(tmp_path)
    assert type(again) is ParallelEnsembleForCTC and again.config.inputs_to_logits_ratio == 10
    with torch.no_grad():
        assert torch.equal(again(WAVES).logits, made(WAVES).logits)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"conv_stride": (5, 4)}, "'y' has 20 samples to a frame, .* one frame rate .member 'x' has 10."),
        ({"pad_token_id": 1}, "'y' has 1 as the id of the blank; .* one vocabulary .member 'x' has 0."),
    ],
)
def test_members_that_hear_otherwise_are_refused(changes, message):
    with pytest.raises(CompressionError, match=message):
        ParallelEnsemble.from_members([tiny_listener(), tiny_listener(1, **changes)], names=["x", "y"])


def test_other_tokenizers_and_nan_are_refused_and_weights_and_temperatures_hold(pair):
    members, processors = spellers()
    other = type(processors[0])(processors[0].feature_extractor, lower_tokenizer())
    first = type(processors[0])(processors[0].feature_extractor, tiny_tokenizer())
    with pytest.raises(CompressionError, match="'y' has another tokenizer than member 'x', and an ensemble writes token"):
        ParallelEnsemble.from_members(members, names=["x", "y"], processors=[first, other])
    made = ParallelEnsemble.from_members(members, temperatures=[2.0, 0.5], combiner="mean_logits")
    with torch.no_grad():
        expected = (members[0](WAVES).logits / 2 + members[1](WAVES).logits / 0.5) / 2
        torch.testing.assert_close(made(WAVES).logits, expected.log_softmax(-1))
    broken = sharper(tiny_listener(2)).eval()
    broken.lm_head.bias.data.fill_(float("nan"))
    with pytest.raises(CompressionError, match="member 'bad' answers NaN"):
        ParallelEnsemble.from_members([members[0], broken], names=["good", "bad"])(WAVES, labels=LABELS)
