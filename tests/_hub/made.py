"""Folders that look like models to the Hub."""

import json

from hf_compress._hub.client import Hub
from hf_compress._hub.commit import commit_files
from hf_compress._hub.destination import open_destination
from hf_compress._hub.files import Files
from hf_compress._hub.publication import Publication


def folder(place, version="one", shards=0, size=2000):
    """A config, weights and a small file, of a version."""
    place.mkdir(parents=True, exist_ok=True)
    (place / "config.json").write_text(json.dumps({"version": version}))
    (place / "tokenizer.json").write_text("{}")
    content = (version.encode() * size)[:size]
    if not shards:
        (place / "model.safetensors").write_bytes(content)
    names = [f"model-{number + 1:05}-of-{shards:05}.safetensors" for number in range(shards)]
    for name in names:
        (place / name).write_bytes(name.encode() + content)
    if shards:
        index = {"weight_map": {f"tensor {name}": name for name in names}}
        (place / "model.safetensors.index.json").write_text(json.dumps(index))
    return place


def files(place, **settings):
    """What of it goes to the Hub."""
    contents = {file.name: file for file in sorted(place.iterdir())}
    return Files(contents=contents, is_ours=lambda path: path.startswith(("model", "config")), **settings)


def patient(waits=(0.0,) * 5):
    """A Hub that is asked again at once."""
    from huggingface_hub import HfApi

    return Hub(api=HfApi(), waits=waits)


def push(place, repo_id="me/model", waits=(0.0,) * 5, **settings):
    there = open_destination(Publication(repo_id=repo_id, **settings), patient(waits))
    return commit_files(files(place), there, message="a version", again="the same command")


def contents(place):
    return {file.name: file.read_bytes() for file in place.iterdir()}
