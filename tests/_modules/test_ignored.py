"""Names to ignore that match nothing are said, wherever they are given."""

import pytest

from hf_compress import Pruning, Quantization, prune, quantize
from hf_compress._modules.ignored import say_unmatched
from hf_compress._modules.matching import DEFAULT_IGNORE
from tests.tiny import tiny_llama
from tests.training.runs import llama_trainer


def test_only_what_matches_nothing_and_was_written_by_somebody_is_said(caplog):
    say_unmatched(tiny_llama().model, (*DEFAULT_IGNORE, "Linear", "re:.*down_proj", "re:.*down_prj"), "pruning")
    assert [record.getMessage() for record in caplog.records] == [
        "pruning.ignore: 're:.*down_prj' matches no module, so it keeps nothing dense"
    ]


@pytest.mark.parametrize("way", ["once", "trainer"])
def test_pruning_and_quantization_say_it(tmp_path, caplog, way):
    pruning = Pruning(ignore=["re:.*down_prj"])
    quantization = Quantization(scheme="W8A8", ignore=["re:.*up_prj"])
    if way == "once":
        model = tiny_llama()
        prune(model, pruning)
        quantize(model, quantization)
    else:
        llama_trainer(tmp_path, {"pruning": pruning, "quantization": quantization})
    assert caplog.text.count("pruning.ignore: 're:.*down_prj' matches no module") == 1
    assert caplog.text.count("quantization.ignore: 're:.*up_prj' matches no module") == 1
