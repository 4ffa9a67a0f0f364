"""The compiler, where there is one."""

import pytest
import torch

from hf_compress.evaluation.cost.runtimes.compile import Compile

CPU = torch.device("cpu")


class Doubled(torch.nn.Module):
    def forward(self, x):
        return 2 * x


@pytest.mark.slow
@pytest.mark.skipif(bool(Compile().missing(CPU)), reason="needs a C++ compiler")
def test_more_shapes_than_the_compiler_keeps_stay_compiled():
    model = Doubled()
    prepared = Compile().prepare(model, {"x": torch.ones(1)})
    for length in range(4, 14):  # it keeps 8 versions, and runs the ninth uncompiled
        prepared.anew()
        x = torch.arange(float(length))
        with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):
            assert torch.equal(prepared.call({"x": x}), 2 * x)


def test_no_compiler_is_said_with_the_way_out(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert Compile().missing(CPU).endswith("none is found; install g++, or set CXX")
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/" + name if name == "clang++" else None)
    assert Compile().missing(CPU) == ""
