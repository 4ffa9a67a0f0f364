"""The example of docs/lora.md runs as it stands."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow  # tests/test_docs.py runs the page too; here its numbers are looked at
def test_the_example_of_the_page_runs(tmp_path):
    code = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "lora.md").read_text(), re.S)[1]
    environment = {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "PATH": "/usr/bin:/bin", "CUDA_VISIBLE_DEVICES": ""}
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    lines = [line for line in run.stdout.splitlines() if "relative error" in line]
    assert len(lines) == 3
    assert "4 layers, rank 12" in lines[0]
    assert "rank 6" in lines[1]
    assert {path.name for path in tmp_path.iterdir()} == {"base", "math", "code", "both", "small", "tuned", "found"}
