"""Reports without pictures, whose drawing takes a quarter of a tiny model's run.

They are drawn in tests/evaluation, for every task in tests/contracts/test_tasks.py, and by the runs of test_cli and
test_docs.
"""

import pytest


@pytest.fixture(scope="module", autouse=True)
def undrawn():
    """For the folders whose conftest imports this."""

    def plot(report, file):
        file.write_bytes(b"no picture")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hf_compress.evaluation.page.pictures", lambda report: {})
        patch.setattr("hf_compress.evaluation.plot.plot", plot)
        patch.setattr("hf_compress.evaluation.sensitivity_plot.plot_sensitivity", lambda *given: plot(*given[-2:]))
        yield
