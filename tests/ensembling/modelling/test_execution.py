"""How members are asked: by setting, and by what was the fastest."""

import copy
import functools
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from hf_compress import Cascade, CompressionError, ParallelEnsemble
from hf_compress.ensembling.modelling.execution import Execution
from tests.ensembling.folders import lower_tokenizer, texts, writers
from tests.tiny import tiny_tokenizer

IDS = torch.randint(4, 60, (5, 7), generator=torch.Generator().manual_seed(0))


def asked_alone(made):
    """A list that grows when the last member is asked by itself: stacked, the first stands for all."""
    seen, asked = [], made.members[-1].forward

    @functools.wraps(asked)
    def forward(*args, **kwargs):
        seen.append(1)
        return asked(*args, **kwargs)

    made.members[-1].forward = forward
    return seen


def timed(monkeypatch, seconds):
    """Each way takes so long, by its name."""
    measured = []

    def fake(self, way, inputs):
        measured.append(way.__name__)
        return seconds[way.__name__]

    monkeypatch.setattr(Execution, "_seconds", fake)
    return measured


@pytest.mark.parametrize(
    ("one_by_one", "stacked", "best"), [(1.0, 0.5, "stacked"), (1.0, 0.97, "sequential"), (1, 2, "sequential")]
)
def test_auto_takes_the_fastest_and_measures_each_size_once(one_by_one, stacked, best, monkeypatch):
    measured = timed(monkeypatch, {"_one_by_one": one_by_one, "_stacked": stacked})
    made = ParallelEnsemble.from_members(texts()[0])
    expected = copy.deepcopy(made).set_execution("sequential")
    seen = asked_alone(made)
    with torch.no_grad():
        for ids in (IDS, IDS[:, :6], IDS[:4]):  # up to 8 x 8, and 4 x 8
            torch.testing.assert_close(made(ids).logits, expected(ids).logits, rtol=1e-5, atol=1e-5)
        assert sorted(set(measured)) == ["_one_by_one", "_stacked"]
        assert len(made.asking.fastest) == 2 and set(made.asking.fastest.values()) == {best}
        seen.clear()
        measured.clear()
        for ids in (IDS, IDS[:4], torch.cat([IDS, IDS[:3]])):
            torch.testing.assert_close(made(ids).logits, expected(ids).logits, rtol=1e-5, atol=1e-5)
    assert measured == [] and len(seen) == (0 if best == "stacked" else 3)


def test_auto_measures_by_the_clock_and_answers():
    made = ParallelEnsemble.from_members(texts()[0])
    expected = copy.deepcopy(made).set_execution("sequential")
    with torch.inference_mode():
        for _ in range(3):
            torch.testing.assert_close(made(IDS).logits, expected(IDS).logits, rtol=1e-5, atol=1e-5)
    assert next(iter(made.asking.fastest.values())) in ("sequential", "stacked")


@pytest.mark.parametrize("change", ["dropout", "another shape", "a hook"])
def test_auto_goes_on_one_by_one_where_members_can_be_stacked_no_more(change, monkeypatch):
    timed(monkeypatch, {"_one_by_one": 1.0, "_stacked": 0.5})
    made = ParallelEnsemble.from_members(texts()[0])
    with torch.no_grad():
        made(IDS)
        assert set(made.asking.fastest.values()) == {"stacked"}
        if change == "dropout":  # on, so that a member is asked several times for a spread of answers
            for module in made.modules():
                if isinstance(module, torch.nn.Dropout):
                    module.train()
            assert not torch.equal(made(IDS).logits, made(IDS).logits)
            return
        if change == "another shape":
            made.members[1] = texts(type_vocab_size=3)[0][1]
        else:
            made.members[0].classifier.register_forward_hook(lambda module, args, output: -output)
        expected = copy.deepcopy(made).set_execution("sequential")(IDS).logits
        torch.testing.assert_close(made(IDS).logits, expected)
        torch.testing.assert_close(
            made(IDS[:, :3]).logits, copy.deepcopy(made).set_execution("sequential")(IDS[:, :3]).logits
        )


@pytest.mark.parametrize("execution", ["auto", "stacked"])
def test_threads_can_ask_an_ensemble_at_the_same_time(execution, monkeypatch):
    timed(monkeypatch, {"_one_by_one": 1.0, "_stacked": 0.5})
    made = ParallelEnsemble.from_members(texts()[0], execution=execution)
    batches = [IDS[:rows, :length] for rows in (1, 3, 5) for length in (2, 5, 7)]
    expected = copy.deepcopy(made).set_execution("sequential")
    with torch.no_grad():
        expected = [expected(ids).logits for ids in batches]

    def apart(start):
        with torch.set_grad_enabled(start == 0):  # which asks the members themselves
            return max(
                float((made(batches[place]).logits.detach() - expected[place]).abs().max())
                for place in [(start + k) % len(batches) for k in range(3 * len(batches))]
            )

    with ThreadPoolExecutor(4) as pool:
        assert max(pool.map(apart, range(4))) < 1e-5
    assert made.asking.stack is not None


@pytest.mark.parametrize("why", ["gradients", "training", "deterministic", "sequential", "other inputs", "language"])
def test_nothing_is_measured_where_one_after_the_other_is_all_there_is(why, monkeypatch):
    measured = timed(monkeypatch, {})
    if why == "language":
        made = ParallelEnsemble.from_members(writers()[0])
    elif why == "other inputs":
        made = ParallelEnsemble.from_members(texts()[0], processors=[tiny_tokenizer(), lower_tokenizer()])
    else:
        made = ParallelEnsemble.from_members(texts()[0], execution="sequential" if why == "sequential" else "auto")
    inputs = {"input_ids": IDS, **({"input_ids_1": IDS % 20} if why == "other inputs" else {})}
    seen = asked_alone(made)
    made.train(why == "training")
    torch.use_deterministic_algorithms(why == "deterministic")
    try:
        with torch.set_grad_enabled(why == "gradients"):
            made(**inputs)
            made(**inputs)
    finally:
        torch.use_deterministic_algorithms(False)
    assert measured == [] and made.asking.fastest == {}
    assert len(seen) - (why == "other inputs") == 2  # there it is tried once, and found not to be possible


def test_a_compiled_graph_asks_one_after_the_other():
    made = ParallelEnsemble.from_members(texts()[0], execution="stacked")
    with torch.no_grad():
        program = torch.export.export(made, (), {"input_ids": IDS})
        torch.testing.assert_close(program.module()(input_ids=IDS).logits, made(IDS).logits, rtol=1e-5, atol=1e-5)
    names = [node.target for node in program.graph.nodes if node.op == "placeholder"]
    assert any("members_0" in name for name in names) and any("members_1" in name for name in names)


def test_copies_and_pickles_have_weights_of_their_own():
    made = ParallelEnsemble.from_members(texts()[0], execution="stacked")
    with torch.no_grad():
        expected = made(IDS).logits
        for other in (copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
            assert other.asking.stack is None
            torch.testing.assert_close(other(IDS).logits, expected, rtol=1e-5, atol=1e-5)
            other.members[0].classifier.weight.zero_()
        torch.testing.assert_close(made(IDS).logits, expected)


def test_the_way_is_set_when_an_ensemble_is_loaded_and_is_saved_with_it(tmp_path):
    ParallelEnsemble.from_members(texts()[0], execution="sequential").save_pretrained(tmp_path / "out")
    assert ParallelEnsemble.from_pretrained(tmp_path / "out").config.execution == "sequential"
    assert ParallelEnsemble.from_pretrained(tmp_path / "out", execution="stacked").config.execution == "stacked"
    with pytest.raises(CompressionError, match="all members are on cpu; place_members"):
        ParallelEnsemble.from_pretrained(tmp_path / "out", execution="devices")


def test_wrong_ways_are_refused():
    made = ParallelEnsemble.from_members(texts()[0])
    with pytest.raises(
        CompressionError, match=r"execution='fast' is unknown \(known: auto, sequential, stacked, devices\)"
    ):
        made.set_execution("fast")
    with pytest.raises(CompressionError, match="execution='fast' is unknown"):
        ParallelEnsemble.from_members(texts()[0], execution="fast")
    with pytest.raises(CompressionError, match="cascade: execution='stacked' asks all members at once"):
        Cascade.from_members(texts()[0], thresholds=[0.5], execution="stacked")
    cascade = Cascade.from_members(texts()[0], thresholds=[0.5], execution="sequential")
    with pytest.raises(CompressionError, match="cascade: execution='devices'"):
        cascade.set_execution("devices")
    assert cascade.config.execution == "sequential"


def test_members_are_spread_over_two_devices_or_more():
    made = ParallelEnsemble.from_members(texts()[0])
    for devices, message in (
        (["cpu", "cpu"], "two devices or more, and here is cpu"),
        (["cpu", "meta"], "two devices or more"),
        (["cpu", "nowhere"], "one is none of this machine"),
        (["cpu", 1.5], "one is none of this machine"),
        ("cuda", "devices='cuda' is one text; give a list of two or more"),
    ):
        with pytest.raises(CompressionError, match=message):
            made.place_members(devices)
    if not torch.accelerator.is_available() or torch.accelerator.device_count() < 2:
        with pytest.raises(CompressionError, match="two devices or more"):
            made.place_members()
    with pytest.raises(CompressionError, match="all members are on cpu"):
        made.set_execution("devices")
    made.config.execution = "devices"
    with pytest.raises(CompressionError, match="all members are on cpu"):
        made(IDS)
