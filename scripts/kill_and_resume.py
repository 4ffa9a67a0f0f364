r"""Kill a run with SIGKILL, resume it, and compare its weights with those of an uninterrupted run, bit for bit.

    python scripts/kill_and_resume.py recipes/quickstart.yaml --kill-at dense-training/checkpoint-1200 --kill-at \
        checkpoint-200

Each `--kill-at` names a folder inside output_dir; the run is killed as soon as it exists (a moment after, so that the kill
hits training or the writing of the next checkpoint), then started again with --resume until the next one or the end.
"""

import argparse
import datetime
import hashlib
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path


def start(recipe: str, out: Path, settings: list[str], resume: bool) -> subprocess.Popen:
    command = [sys.executable, "-m", "hf_compress", "run", recipe, "--set", f"training.output_dir={out}"]
    command += [part for setting in settings for part in ("--set", setting)] + (["--resume"] if resume else [])
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def finish(process: subprocess.Popen, what: str) -> None:
    code = process.wait()
    if code != 0:
        sys.exit(f"{what} ended with exit code {code}")


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe")
    parser.add_argument("--kill-at", action="append", required=True, help="folder in output_dir; may be repeated")
    parser.add_argument("--delay", type=float, default=1.0, help="seconds between the folder's appearance and the kill")
    parser.add_argument("--set", action="append", default=[], dest="settings")
    parser.add_argument("--work", type=Path, default=Path("out/kill-and-resume"))
    options = parser.parse_args()
    shutil.rmtree(options.work, ignore_errors=True)
    # The recipe is part of the result's identity but not of the weights, so two folders can be compared.
    straight, killed = options.work / "straight", options.work / "killed"

    began = time.time()
    finish(start(options.recipe, straight, options.settings, resume=False), "the uninterrupted run")
    print(f"uninterrupted run: {time.time() - began:.0f} s")

    for number, folder in enumerate(options.kill_at):
        process = start(options.recipe, killed, options.settings, resume=number > 0)
        while not (killed / folder).exists():
            if process.poll() is not None:
                sys.exit(f"the run ended before {folder} appeared")
            time.sleep(0.05)
        time.sleep(options.delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        print(f"killed (SIGKILL) {options.delay:g} s after {folder} appeared; exit code {process.returncode}")
    finish(start(options.recipe, killed, options.settings, resume=True), "the resumed run")

    same = True
    for name in ("dense/model.safetensors", "compressed/model.safetensors"):
        first, second = straight / name, killed / name
        if not first.exists() and not second.exists():
            continue
        digests = digest(first), digest(second)
        same &= digests[0] == digests[1]
        verdict = "equal" if digests[0] == digests[1] else "DIFFERENT"
        print(f"{name}: {digests[0][:16]} uninterrupted, {digests[1][:16]} resumed: {verdict}")
    print(f"{datetime.date.today()} {options.recipe} {' '.join(options.settings)}")
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
