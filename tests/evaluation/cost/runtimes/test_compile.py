"""The compiler, where there is one."""

import pytest
import torch

from hf_compress.evaluation.cost.batches import batch_of
from hf_compress.evaluation.cost.runtimes.compile import Compile
from tests.tiny import tiny_bert

CPU = torch.device("cpu")


@pytest.mark.slow
@pytest.mark.skipif(bool(Compile().missing(CPU)), reason="needs a C++ compiler")
def test_more_shapes_than_the_compiler_keeps_stay_compiled():
    model = tiny_bert().eval()
    prepared = Compile().prepare(model, batch_of(model, 1, 4))
    for length in range(4, 14):  # it keeps 8 versions, and runs the ninth uncompiled
        prepared.anew()
        batch = batch_of(model, 1, length)
        with torch.no_grad():
            torch.testing.assert_close(prepared.call(batch).logits, model(**batch).logits)  # other kernels, fp32
        with torch._dynamo.config.patch(error_on_recompile=True):
            prepared.call(batch)


def test_no_compiler_is_said_with_the_way_out(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert Compile().missing(CPU).endswith("none is found; install g++, or set CXX")
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/" + name if name == "clang++" else None)
    assert Compile().missing(CPU) == ""
