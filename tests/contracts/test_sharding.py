"""What every way of sharding promises; a new one is tested without editing a list.

The test of its own name says how a model is laid out in two processes (`lay_out(model)`), or what a model that is refused
looks like (`refused()`). What must then hold is in the worker.
"""

import importlib.util
import json

import pytest

from hf_compress import CompressionError
from hf_compress._sharding.contract import Sharding, check_supported
from tests.distributed.launch import forked, made_once
from tests.distributed.sharding_worker import jobs_of

OWN = {
    name: importlib.import_module(cls.__module__.replace("hf_compress", "tests").replace(f".{name}", f".test_{name}"))
    for name, cls in Sharding.available().items()
}
USABLE = [name for name, own in OWN.items() if hasattr(own, "lay_out")]
REFUSED = [name for name in OWN if name not in USABLE]
HERE = [name for name in USABLE if not hasattr(OWN[name], "package") or importlib.util.find_spec(OWN[name].package)]
"""Those whose package is installed."""


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    backends = [f"{name}={OWN[name].__name__}" for name in HERE]
    return made_once(
        tmp_path_factory, "sharding", lambda folder: forked("tests/distributed/sharding_worker.py", str(folder), *backends)
    )


@pytest.mark.parametrize("name", USABLE)
def test_two_processes_do_to_their_parts_what_one_does_to_the_whole(name, done):
    """Tensors, masks, gradients, momenta, counts: compared in the worker, bit for bit, in both processes."""
    if name not in HERE:
        pytest.skip(f"{OWN[name].package} is not installed")
    first, second = (json.loads((done / f"{name}{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    for model in ("llama", "gpt2"):
        assert (first[f"{model}: sharded layers"] > 0) is (not Sharding.available()[name].keeps_whole)
        assert all(first[f"{model}: {job}"] > 0 for job in jobs_of(model, OWN[name]))


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_worked_on_is_refused_with_a_way_out(name):
    with pytest.raises(CompressionError, match=r"^pruning (under|of) .* is not supported: .*(set|train|load)"):
        check_supported(OWN[name].refused(), "pruning")
