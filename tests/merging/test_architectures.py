"""Every architecture merges: all tensors accounted for, clean load-back, values as an independent reference has them."""

import math
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from hf_compress.merging.configuration import Member, Merge
from hf_compress.merging.engine.run import merge_checkpoints
from hf_compress.merging.method import MergeMethod
from tests.merging.zoo import ZOO, make

WEIGHTS = (0.3, 0.7)


def linear(a, b, base):
    return (WEIGHTS[0] * a + WEIGHTS[1] * b) / sum(WEIGHTS)


def slerp(a, b, base):
    x, y = a.flatten(), b.flatten()
    if not x.numel() or x.norm() == 0 or y.norm() == 0:
        return 0.5 * a + 0.5 * b
    cosine = (x @ y / (x.norm() * y.norm())).clamp(-1, 1).item()
    if 1 - abs(cosine) < 1e-6:
        return 0.5 * a + 0.5 * b
    angle = math.acos(cosine)
    return (math.sin(0.5 * angle) * a + math.sin(0.5 * angle) * b) / math.sin(angle)


def ties(a, b, base):
    """Yadav et al. 2023, element by element in lists, density 0.5; weights count in the vote and in the mean."""
    deltas = [(member - base).flatten().tolist() for member in (a, b)]
    size = len(deltas[0])
    for delta in deltas:
        ranked = sorted(range(size), key=lambda index: (-abs(delta[index]), index))
        for index in ranked[round(0.5 * size) :]:
            delta[index] = 0.0
    merged = []
    for values in zip(*deltas, strict=True):
        sign = 1 if sum(value * weight for value, weight in zip(values, WEIGHTS, strict=True)) >= 0 else -1
        agreeing = [(value, weight) for value, weight in zip(values, WEIGHTS, strict=True) if value * sign > 0]
        merged.append(sum(v * w for v, w in agreeing) / sum(w for _, w in agreeing) if agreeing else 0.0)
    return base + torch.tensor(merged, dtype=base.dtype).view_as(base)


METHODS = {"linear": ({}, linear, False), "slerp": ({"t": 0.5}, slerp, False), "ties": ({"density": 0.5}, ties, True)}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """name -> folders of two members and a base, written once."""
    made = {}

    def write(name):
        if name not in made:
            folder = tmp_path_factory.mktemp("zoo")
            made[name] = [folder / part for part in ("a", "b", "base")]
            for seed, place in enumerate(made[name]):
                make(name, seed).save_pretrained(place)
        return made[name]

    return write


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ZOO)
def test_merging_accounts_for_every_tensor_and_loads_back(name, method, checkpoints, tmp_path):
    arguments, reference, needs_base = METHODS[method]
    a, b, base = checkpoints(name)
    weights = (1.0, 1.0) if method == "slerp" else WEIGHTS  # t is slerp's only weight
    members = [Member(str(place), weight=weight) for place, weight in zip((a, b), weights, strict=True)]
    job = Merge(method=MergeMethod.create(method, **arguments), members=members, base=str(base) if needs_base else None)
    result = merge_checkpoints(job, tmp_path / "out")
    first, second, third = (load_file(place / "model.safetensors") for place in (a, b, base))
    merged = load_file(tmp_path / "out" / "model.safetensors")
    assert set(merged) == set(first)
    counts = result.account.counts()
    integers = [key for key, tensor in first.items() if not tensor.is_floating_point()]
    assert counts["merged"] == len(first) - len(integers) and counts["copied"] == len(integers)
    assert result.loads == f"loads as {ZOO[name][0].__name__}: nothing missing, nothing unexpected"
    for key, tensor in merged.items():
        if key in integers:
            assert torch.equal(tensor, first[key])
            continue
        expected = reference(first[key].double(), second[key].double(), third[key].double())
        # fp32 sums of two products: a few units in the last place of values around 3.
        torch.testing.assert_close(
            tensor.double(), expected, rtol=1e-6, atol=3e-6, msg=lambda text, key=key: f"{key}: {text}"
        )
    model, info = ZOO[name][0].from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    original = ZOO[name][0].from_pretrained(a).state_dict()
    key = max(original, key=lambda key: original[key].numel())
    assert not torch.equal(model.state_dict()[key], original[key])  # the merged weights are really what was loaded


def test_names_of_old_checkpoints_merge_and_still_load(checkpoints, tmp_path):
    """LayerNorm.gamma and .beta, as checkpoints of before 2020 have them, and a prefix that the class has dropped."""
    folders = checkpoints("BERT")[:2]
    for number, folder in enumerate(folders):
        old = {
            key.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
            for key, tensor in load_file(folder / "model.safetensors").items()
        }
        (tmp_path / str(number)).mkdir()
        save_file(old, tmp_path / str(number) / "model.safetensors", metadata={"format": "pt"})
        shutil.copyfile(folder / "config.json", tmp_path / str(number) / "config.json")
    for name, places in (("new", folders), ("old", [tmp_path / "0", tmp_path / "1"])):
        job = Merge(members=[Member(str(place)) for place in places])
        assert merge_checkpoints(job, tmp_path / name).loads.endswith("nothing missing, nothing unexpected")
    new, old = (ZOO["BERT"][0].from_pretrained(tmp_path / name).state_dict() for name in ("new", "old"))
    assert any("LayerNorm" in key for key in new)
    assert all(torch.equal(new[key], old[key]) for key in new)
