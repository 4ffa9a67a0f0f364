"""Processes whose parent is killed."""

import signal
import subprocess
import sys
import time

CHILD = """
import pathlib, signal, sys, time
from hf_compress._parent import ending_with_parent
signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path(sys.argv[1], "told").touch(), sys.exit(143)))
with ending_with_parent(0.05):
    pathlib.Path(sys.argv[1], "began").touch()
    time.sleep(0.5)
    pathlib.Path(sys.argv[1], "stayed").touch()
    time.sleep(30)
"""
PARENT = """
import os, subprocess, sys
from hf_compress._parent import named
subprocess.Popen([sys.executable, "-c", sys.argv[1], sys.argv[2]], env={**os.environ, **named()}).wait()
"""


def seen(file):
    for _ in range(600):
        if file.exists():
            return True
        time.sleep(0.05)
    return False


def test_a_child_stays_while_its_parent_does_and_is_told_to_end_when_that_is_killed(tmp_path):
    parent = subprocess.Popen([sys.executable, "-c", PARENT, CHILD, str(tmp_path)])
    assert seen(tmp_path / "stayed") and not (tmp_path / "told").exists()
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert seen(tmp_path / "told")
