"""Runs on a real small disk, which needs the right to mount one."""

import shutil
import subprocess

import pytest

from hf_compress.training.trainer import CompressionTrainer
from tests.jobs.train.test_resumed_runs import load

pytestmark = pytest.mark.slow


def mount(*options):
    return subprocess.run(["mount", *map(str, options)], capture_output=True, text=True).returncode == 0


@pytest.fixture
def disk(tmp_path):
    """disk(size or "ro") mounts a file system of so many KB, or changes the one that is there."""
    if shutil.which("mount") is None:
        pytest.skip("no mount command")
    place = tmp_path / "disk"
    place.mkdir()
    mounted = []

    def change(size):
        what = size if isinstance(size, str) else f"size={size}k"
        if not mounted:
            if not mount("-t", "tmpfs", "-o", what, "tmpfs", place):
                pytest.skip("mounting a small disk needs root")
            mounted.append(place)
        else:
            assert mount("-o", f"remount,{what}", place)
        return place

    yield change
    for done in mounted:
        subprocess.run(["umount", "-l", str(done)], check=True)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """The weights of a run with room, and its size in KB."""
    folder = tmp_path_factory.mktemp("straight")
    result = load(folder).run()
    size = sum(file.stat().st_size for file in (folder / "out").rglob("*") if file.is_file()) // 1024
    return (result.folder / "model.safetensors").read_bytes(), size


def recipe_on(place, folder):
    file = folder / "recipe.yaml"
    file.write_text(load(folder, {"training.output_dir": str(place / "out")}).to_yaml())
    return file


def goes_on(call, file, place, straight):
    code, _, complaints = call("run", file, "--resume")
    assert (code, complaints) == (0, [])
    assert (place / "out" / "compressed" / "model.safetensors").read_bytes() == straight[0]


@pytest.mark.parametrize("share", [n / 12 for n in range(1, 12)])
def test_a_full_disk_is_one_sentence_at_whatever_moment_and_the_run_goes_on(share, disk, call, straight, tmp_path):
    size = straight[1]
    place = disk(int(size * share))
    file = recipe_on(place, tmp_path)
    code, _, complaints = call("run", file)
    assert code == 2 and len(complaints) == 1, complaints
    assert "the disk is full" in complaints[0] and complaints[0].endswith("the last checkpoint"), complaints
    assert not (place / "out" / "compressed").exists()
    disk(4 * size)
    goes_on(call, file, place, straight)


def test_a_disk_that_becomes_read_only_while_training_is_one_sentence(disk, call, straight, tmp_path, monkeypatch):
    place = disk(4 * straight[1])
    file = recipe_on(place, tmp_path)
    original = CompressionTrainer.training_step

    def step(self, *args, **kwargs):
        if self.quantization is not None and self.state.global_step == 3:
            disk("ro")
        return original(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(CompressionTrainer, "training_step", step)
        code, _, complaints = call("run", file)
    assert code == 2 and len(complaints) == 1
    assert "Read-only file system; once this is mended, run the same command with --resume" in complaints[0]
    disk("rw")
    goes_on(call, file, place, straight)
