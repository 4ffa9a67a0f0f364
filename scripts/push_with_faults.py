r"""Push version after version through ordered faults, and look at the branch at every commit.

    python scripts/push_with_faults.py --pushes 50

Each version has other weights and another number of shards, or is an ensemble of two to four members. For each push one to
five faults are drawn and ordered from a local Hub (tests/local_hub.py); every fifth begins with a process of its own that
is killed (SIGKILL) in the middle of its first upload. The push is repeated until it ends well; then the branch must hold
the folder to the byte. At every commit the Hub looks whether the branch holds a config with all its weights, of one
version, and those of its manifest.
"""

import argparse
import collections
import datetime
import hashlib
import json
import logging
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import huggingface_hub
import numpy as np
from safetensors.numpy import save_file

from tests.local_hub import TOKEN, LocalHub

REPO = "me/model"
FAULTS = [
    *((request, kind) for request in ("GET /api/whoami-v2", "GET /api/models/me/model$") for kind in (429, 500, "hang up")),
    *(("POST /api/validate-yaml", kind) for kind in (429, 503, "hang up")),
    *(("GET .*/tree/", kind) for kind in (504, "hang up")),
    *(("POST .*/preupload/", kind) for kind in (401, 403, 404, 429, 500, "hang up")),
    *(("POST .*/objects/batch", kind) for kind in (401, 403, 404, 409, 429, 503, "hang up", "cut")),
    *(("PUT /lfs/", kind) for kind in (403, 404, 408, 429, 500, "hang up", "cut", "lost")),
    *(("POST /lfs/.*/(verify|whole)", kind) for kind in (403, 404, 500, "lost")),
    *(("POST .*/commit/", kind) for kind in (401, 403, 404, 408, 409, 412, 429, 500, 504, "hang up", "cut", "lost")),
    *[("POST .*/commit/", "lost"), ("PUT /lfs/", "cut"), ("somebody else commits", "moved")] * 4,
]


def version(folder: Path, number: int, chosen: random.Random) -> Path:
    """A folder that looks like a result: a model, sharded or not, or an ensemble; its manifest has the weights' hashes."""
    folder.mkdir()
    members = chosen.choice([0, 0, 0, 2, 3, 4])
    shards = chosen.choice([1, 2, 3, 5])
    names = ["model.safetensors"]
    if members:
        names = [f"member-{place}/model.safetensors" for place in range(members)]
    elif shards > 1:
        names = [f"model-{place + 1:05}-of-{shards:05}.safetensors" for place in range(shards)]
    numbers = np.random.default_rng(number)
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        save_file(
            {f"tensor of {name}": numbers.normal(size=(chosen.randint(1, 200), 256)).astype("float32")}, folder / name
        )
    config: dict[str, object] = {"version": number}
    if members:
        config["members"] = [{"name": str(place), "folder": f"member-{place}"} for place in range(members)]
        for place in range(members):
            (folder / f"member-{place}" / "config.json").write_text(json.dumps({"version": number}))
    elif shards > 1:
        index = {"metadata": {}, "weight_map": {f"tensor of {name}": name for name in names}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "README.md").write_text(f"---\ntags: [hf_compress]\n---\n\n# Version {number}\n")
    weights = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    made = {"format": 1, "kind": "merge", "name": f"version {number}", "weights": weights, "recipe": {}}
    (folder / "compression.json").write_text(json.dumps({**made, "created": None, "versions": {}}))
    return folder


def killed(hub: LocalHub, folder: Path) -> bool:
    """A push by a process of its own that is killed in the middle of its first upload; False where it was too fast."""
    hub.fault("PUT /lfs/", "wait")
    command = [sys.executable, "-m", "hf_compress", "push", str(folder), REPO]
    seen = len(hub.requests)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not any(request.startswith("PUT") for request in hub.requests[seen:]):
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    hub.faults.clear()
    hub.go_on.set()
    return process.wait() == -signal.SIGKILL


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pushes", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    chosen = random.Random(options.seed)
    with LocalHub().running() as hub, tempfile.TemporaryDirectory() as place:
        os.environ |= {
            "HF_ENDPOINT": hub.url,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_OFFLINE": "0",
            "HF_TOKEN": TOKEN,
            "HF_HOME": f"{place}/home",
        }
        run(hub, Path(place), options.pushes, chosen)


def run(hub: LocalHub, place: Path, pushes: int, chosen: random.Random) -> None:
    # Read when they are imported, by what the environment says.
    import huggingface_hub.constants

    huggingface_hub.constants.ENDPOINT = hub.url
    huggingface_hub.constants.HF_HUB_DISABLE_XET = True
    from hf_compress._hub.client import Hub, PushError
    from hf_compress._hub.publication import Publication
    from hf_compress.export.push import publish

    patient = Hub(api=huggingface_hub.HfApi(endpoint=hub.url), waits=(0.0, 0.0, 0.1))
    hub.create(REPO)
    happened: collections.Counter[str] = collections.Counter()
    tries: collections.Counter[int] = collections.Counter()
    failures: list[str] = []
    began = time.time()
    for number in range(pushes):
        folder = version(place / str(number), number, chosen)
        hub.part_bytes = chosen.choice([1 << 62, 40_000])
        if number % 5 == 4:
            happened["killed in the middle of an upload"] += killed(hub, folder)
        for request, kind in (chosen.choice(FAULTS) for _ in range(chosen.randint(1, 5))):
            if kind == "moved":
                hub.before_commit = lambda number=number: hub.commit(REPO, {"notes.txt": b"%d" % number})
            else:
                hub.fault(request, kind, times=chosen.choice([1, 1, 1, 2]), skip=chosen.choice([0, 0, 1, 2]))
        ordered = [(fault, fault.times) for fault in hub.faults]
        moved = hub.before_commit is not None
        attempt, done = 0, False
        while not done and attempt < 30:
            attempt += 1
            try:
                publish(folder, Publication(repo_id=REPO), patient)
                done = True
            except ValueError as error:
                if isinstance(error, PushError):
                    happened["pushes that ended on the way, and were repeated"] += 1
                else:
                    happened["pushes that were refused before anything was uploaded, and repeated"] += 1
        tries[attempt] += 1
        for fault, times in ordered:
            happened[f"{fault.request.removeprefix('.*')}: {fault.kind}"] += times - fault.times
        happened["somebody else commits: moved"] += moved and hub.before_commit is None
        hub.faults.clear()
        hub.before_commit = None
        here = {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
        there = {path: content for path, content in hub.files(REPO).items() if path not in (".gitattributes", "notes.txt")}
        if here != there:
            failures.append(f"version {number}: the branch holds {sorted(there)}, the folder {sorted(here)}")
    report(hub, pushes, happened, tries, failures, time.time() - began)


def report(hub, pushes, happened, tries, failures, seconds) -> None:
    faults = {name: count for name, count in sorted(happened.items()) if count and ": " in name}
    print("Versions pushed one after the other through ordered faults")
    print()
    print(f"date      {datetime.date.today().isoformat()}")
    print(f"machine   {os.cpu_count()} cores, CPU only, a local Hub in the same process")
    print(f"versions  Python {platform.python_version()}, huggingface_hub {huggingface_hub.__version__}")
    print(f"command   python scripts/{Path(__file__).name} {' '.join(sys.argv[1:])}".rstrip())
    print()
    print(f"pushes                  {pushes}, in {seconds:.0f} s; commits of the branch {len(hub.repos[REPO].commits) - 1}")
    print(f"faults that happened    {sum(faults.values())}")
    for name, count in happened.items():
        if ": " not in name and count:
            print(f"{name}: {count}")
    print(f"tries until it was there: {', '.join(f'{count} after {number}' for number, count in sorted(tries.items()))}")
    print(f"branches that did not hold the folder to the byte at the end: {len(failures)}")
    print(f"commits with a config without its weights, or of two versions: {len(hub.broken)}")
    for line in [*failures, *(f"{where}: {what}" for where, what in hub.broken)]:
        print(f"  {line}")
    print()
    for name, count in faults.items():
        print(f"{count:4}  {name}")
    sys.exit(1 if failures or hub.broken else 0)


if __name__ == "__main__":
    main()
