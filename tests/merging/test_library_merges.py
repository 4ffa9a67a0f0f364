"""Two tiny models of every class that reads images and text, and of every class with a head, merge to their mean."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file
from transformers.models.auto import modeling_auto

from hf_compress import Member, Merge, merge
from tests.checkpoints.test_companions import vocabulary_files_of_transformers

ROOT = Path(__file__).parents[2]
COMPOSITE = ("IMAGE_TEXT_TO_TEXT", "MULTIMODAL_LM")
SAMPLE = (("mistral3", "Mistral3ForConditionalGeneration"), ("got_ocr2", "GotOcr2ForConditionalGeneration"))


def tiny_models():
    """scripts/_tiny_models.py, which makes small models of any architecture."""
    spec = importlib.util.spec_from_file_location("_tiny_models", ROOT / "scripts" / "_tiny_models.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def classes(tiny):
    """(model type, class name), each once."""
    found = {(model_type, name): None for _, model_type, name in tiny.architectures()}
    for kind in COMPOSITE:
        mapping = getattr(modeling_auto, f"MODEL_FOR_{kind}_MAPPING_NAMES", {})
        found |= {(model_type, name): None for model_type, name in mapping.items() if isinstance(name, str)}
    return list(found)


def tensors_of(folder):
    return {name: tensor for file in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(file).items()}


def check_merge(tiny, model_type, name, folder, files):
    """None where it holds, a sentence where no tiny model is built; wrong numbers, lost files and refusals are raised."""
    try:
        models = [tiny.build(model_type, name, seed=seed) for seed in (1, 2)]
    except tiny.CannotBuildError as error:
        return str(error)
    for label, model in zip("ab", models, strict=True):
        model.save_pretrained(folder / label)
        for file in files:
            (folder / label / file).write_text("{}")
    merge(Merge(members=[Member(str(folder / "a")), Member(str(folder / "b"))]), folder / "out", threads=1)
    a, b, out = (tensors_of(folder / label) for label in ("a", "b", "out"))
    assert out.keys() == a.keys(), sorted(out.keys() ^ a.keys())[:3]
    for key, tensor in out.items():
        mean = (a[key] + b[key]) / 2 if tensor.is_floating_point() else a[key]
        torch.testing.assert_close(tensor, mean, rtol=1e-6, atol=1e-7, msg=lambda text, key=key: f"{key}: {text}")
    lost = {file.name for file in (folder / "a").iterdir()} - {file.name for file in (folder / "out").iterdir()}
    assert not lost, lost
    cls = getattr(transformers, name)
    one, two = (cls.from_pretrained(folder / label) for label in ("a", "out"))
    assert shared(one) == shared(two)
    return None


def shared(model):
    """The sets of names that are one parameter."""
    groups = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        groups.setdefault(id(parameter), set()).add(name)
    return sorted(sorted(names) for names in groups.values() if len(names) > 1)


@pytest.mark.parametrize(("model_type", "name"), SAMPLE, ids=[name for _, name in SAMPLE])
def test_two_tiny_models_merge_to_their_mean(model_type, name, tmp_path):
    assert check_merge(tiny_models(), model_type, name, tmp_path, ()) is None


@pytest.mark.slow
def test_two_tiny_models_of_every_class_merge_to_their_mean(tmp_path):
    tiny = tiny_models()
    # Stand-ins that no tokenizer class of these models reads, so that none of them is asked to load.
    files = [name for name in sorted(vocabulary_files_of_transformers()) if not name.startswith("tokenizer")]
    every = classes(tiny)
    failed, not_built = {}, {}
    for model_type, name in every:
        try:
            reason = check_merge(tiny, model_type, name, tmp_path / model_type / name, files)
            if reason is not None:
                not_built[name] = reason
        except Exception as error:
            failed[name] = f"{type(error).__name__}: {error}"[:300]
    assert not failed, json.dumps({"failed": failed, "not built": len(not_built), "of": len(every)}, indent=1)
    assert len(not_built) <= 0.35 * len(every), json.dumps(not_built, indent=1)
