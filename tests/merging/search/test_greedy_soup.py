import pytest
import torch

from hf_compress._errors import CompressionError
from hf_compress.checkpoints.source import open_source
from hf_compress.merging.engine.run import merge_checkpoints
from hf_compress.merging.search.greedy_soup import greedy_soup
from tests.tiny import tiny_bert

TARGET = torch.tensor([1.0, 1.0])


def closeness(state):
    """0 at the target, lower elsewhere."""
    return -float((state["w"] - TARGET).square().sum())


def members(**values):
    return {label: {"w": torch.tensor(value)} for label, value in values.items()}


def test_a_hand_computed_soup_keeps_what_helps_in_the_order_of_the_scores():
    # b scores -1, c -1, a -8, d -50: b first, c makes it exact, a and d make it worse.
    found = greedy_soup(members(a=[3.0, 3.0], b=[0.0, 1.0], c=[2.0, 1.0], d=[6.0, 6.0]), closeness)
    assert found.coefficients.weights == (0.0, 1.0, 1.0, 0.0)
    assert torch.equal(found.state_dict["w"], TARGET) and found.score == 0
    tried = [sorted(point) for point, _ in found.history]
    assert tried == [["a"], ["b"], ["c"], ["d"], ["b", "c"], ["a", "b", "c"], ["b", "c", "d"]]


@pytest.mark.parametrize("seed", range(5))
def test_it_is_never_worse_than_the_best_single_model_on_what_it_was_chosen_with(seed):
    generator = torch.Generator().manual_seed(seed)
    models = {str(number): {"w": torch.randn(2, generator=generator)} for number in range(6)}
    found = greedy_soup(models, closeness)
    assert found.score >= max(closeness(model) for model in models.values())
    assert found.score == closeness(found.state_dict)
    assert len(found.history) == 2 * 6 - 1


def test_an_equal_score_lets_a_model_in():
    found = greedy_soup(members(a=[0.0, 1.0], b=[0.0, 1.0]), closeness)
    assert found.coefficients.weights == (1.0, 1.0)


def test_one_model_is_its_own_soup():
    found = greedy_soup(members(a=[0.0, 1.0]), closeness)
    assert found.score == -1 and found.state_dict["w"].tolist() == [0.0, 1.0]


def test_the_recipe_writes_the_same_bits_as_the_soup(tmp_path):
    sources, folders = {}, {}
    for number in range(3):
        folders[f"m{number}"] = str(tmp_path / f"m{number}")
        tiny_bert(seed=number).save_pretrained(folders[f"m{number}"])
        sources[f"m{number}"] = open_source(tmp_path / f"m{number}", f"m{number}")
    scores = iter([0.1, 0.3, 0.2, 0.4, 0.1])  # m1, then m2 with it, and m0 makes it worse
    found = greedy_soup(sources, lambda state: next(scores))
    assert found.coefficients.weights == (0.0, 1.0, 1.0)
    merge_checkpoints(found.as_merge(folders), tmp_path / "out")
    merged = open_source(tmp_path / "out", "out")
    assert set(merged.infos) == set(found.state_dict)
    assert all(torch.equal(merged.read(name), tensor) for name, tensor in found.state_dict.items())


def test_nothing_to_choose_from_and_scores_that_are_no_numbers_are_refused():
    with pytest.raises(CompressionError, match="a soup needs at least one model"):
        greedy_soup({}, closeness)
    with pytest.raises(CompressionError, match="the score of a is not a number"):
        greedy_soup(members(a=[1.0, 1.0]), lambda state: float("nan"))
