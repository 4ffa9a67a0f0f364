import pytest
import torch

from hf_compress._errors import CompressionError
from hf_compress.checkpoints.source import open_source
from hf_compress.merging.engine.in_memory import merge_state_dicts
from hf_compress.merging.engine.run import merge_checkpoints
from hf_compress.merging.methods.iso_c import IsoC
from hf_compress.merging.methods.linear import Linear
from hf_compress.merging.search.coefficient_search import maximize, search_coefficients
from tests.tiny import tiny_bert


def bowl(point):
    return -((point["x"] - 0.3) ** 2) - 2 * (point["y"] + 1) ** 2


RANGES = {"x": (0.0, 1.0), "y": (-2.0, 2.0)}


def test_it_finds_the_top_of_a_bowl_within_its_tolerance():
    best, top, history = maximize(bowl, RANGES, budget=200, tolerance=0.005)
    assert best["x"] == pytest.approx(0.3, abs=0.01) and best["y"] == pytest.approx(-1, abs=0.04)
    assert top == max(score for _, score in history) == bowl(best)


def test_the_budget_counts_evaluations_and_no_point_is_scored_twice():
    calls = []
    maximize(lambda point: calls.append(tuple(point.values())) or bowl(point), RANGES, budget=23)
    assert len(calls) == 23 == len(set(calls))


def test_the_same_seed_gives_the_same_points_and_another_one_others():
    runs = [maximize(bowl, RANGES, budget=20, seed=seed)[2] for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]


def test_points_stay_in_their_ranges_and_the_start_comes_first():
    _, _, history = maximize(lambda point: point["x"] + point["y"], RANGES, start={"x": 0.9}, budget=40)
    assert history[0][0] == {"x": 0.9, "y": 0.0}
    assert all(0 <= point["x"] <= 1 and -2 <= point["y"] <= 2 for point, _ in history)
    assert max(history, key=lambda trial: trial[1])[0] == {"x": 1.0, "y": 2.0}


def models():
    generator = torch.Generator().manual_seed(0)
    names = ("embed.weight", "layer.0.weight", "layer.1.weight")
    return {label: {name: torch.randn(4, 4, generator=generator) for name in names} for label in ("a", "b")}


def test_it_finds_the_weights_that_gave_a_model():
    members = models()
    target = merge_state_dicts(Linear(normalize=False), members, weights=(0.2, 0.9))

    def evaluate(state):
        return -sum(float((state[name] - target[name]).square().sum()) for name in target)

    found = search_coefficients(members, evaluate, method=Linear(normalize=False), budget=150, tolerance=0.002)
    assert found.coefficients.weights == pytest.approx((0.2, 0.9), abs=0.02)
    assert found.score == evaluate(found.state_dict)


def test_layers_have_weights_of_their_own_and_become_rules():
    members = models()

    def evaluate(state):
        return -float((state["layer.0.weight"] - members["a"]["layer.0.weight"]).square().sum()) - float(
            (state["layer.1.weight"] - members["b"]["layer.1.weight"]).square().sum()
        )

    found = search_coefficients(members, evaluate, granularity="layer", budget=150)
    first, second = found.coefficients.of("layer.0.weight"), found.coefficients.of("layer.1.weight")
    assert first[0] > 20 * first[1] and second[1] > 20 * second[0]
    assert len(found.as_merge().rules) == 4


def test_the_job_with_weights_per_layer_writes_the_same_bits_as_the_search(tmp_path):
    sources, folders = {}, {}
    for number in range(2):
        folders[f"m{number}"] = str(tmp_path / f"m{number}")
        tiny_bert(seed=number).save_pretrained(folders[f"m{number}"])
        sources[f"m{number}"] = open_source(tmp_path / f"m{number}", f"m{number}")
    found = search_coefficients(
        sources, lambda state: float(state["classifier.weight"].sum()), granularity="layer", budget=4
    )
    merge_checkpoints(found.as_merge(folders), tmp_path / "out")
    merged = open_source(tmp_path / "out", "out")
    assert set(merged.infos) == set(found.state_dict)
    for name, tensor in found.state_dict.items():
        assert torch.equal(merged.read(name), tensor), name


def test_parameters_of_the_method_are_searched_and_refused_weights_count_as_worst():
    members = models()
    base = {name: torch.zeros(4, 4) for name in members["a"]}
    found = search_coefficients(
        members,
        lambda state: -abs(float(state["embed.weight"].norm()) - 3),
        method=IsoC(),
        base=base,
        weights=None,
        parameters={"scale": (0.1, 2.0)},
        budget=60,
        tolerance=0.001,
    )
    assert found.score > -0.05 and found.coefficients.weights == (1.0, 1.0)
    assert found.method == IsoC(scale=found.method.scale)
    start = {"a": 0.0, "b": 0.0}
    searched = search_coefficients(members, lambda state: 1.0, start=start, budget=5)
    assert searched.history[0] == (start, float("-inf")) and searched.score == 1.0


def test_what_cannot_be_searched_is_refused():
    with pytest.raises(CompressionError, match=r"the range of x is \[1, 1\], which is empty"):
        maximize(bowl, {"x": (1, 1)})
    with pytest.raises(CompressionError, match="leave nothing to search"):
        maximize(bowl, RANGES, budget=0)
    with pytest.raises(CompressionError, match="start: z=1 lies outside"):
        maximize(bowl, RANGES, start={"z": 1})
    with pytest.raises(CompressionError, match="is not a number"):
        maximize(lambda point: float("nan"), RANGES)
    with pytest.raises(CompressionError, match="linear has no parameter 'scale'; it has"):
        search_coefficients(models(), bowl, parameters={"scale": (0, 1)})
