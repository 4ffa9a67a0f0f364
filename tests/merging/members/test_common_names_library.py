"""The names of two releases come together for every class of transformers that renames tensors between memory and disk.

What is on disk is asked of saving, what `unify` finds out comes from loading: two directions of transformers.
"""

import copy
import inspect

import pytest
import torch
import transformers
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import PrefixChange, WeightConverter, revert_weight_conversion

from hf_compress import CompressionError
from hf_compress._quiet import quiet
from hf_compress.checkpoints.names import ModelNames
from hf_compress.checkpoints.source import Source, TensorInfo
from hf_compress.merging.members.common_names import unify

LAYERS = ("num_hidden_layers", "num_layers", "n_layer", "n_layers", "encoder_layers", "decoder_layers", "depth")


def settings_of(model):
    """config.json as save_pretrained would write it, with the class."""
    return {**model.config.to_dict(), "architectures": [type(model).__name__]}


def build(cls):
    """A model of the class with two layers of each kind, or of its default size; None where it has no default."""
    for few in (True, False):
        try:
            with quiet(), torch.device("meta"):
                config = cls.config_class()
                if few:
                    parts = {key: fewer(getattr(config, key, None)) for key in config.sub_configs}
                    config = cls.config_class(**fewer(config), **{key: part for key, part in parts.items() if part})
                model = cls(copy.deepcopy(config))
            if ModelNames(settings_of(model), {}, cls.__name__).model is not None:
                return model
        except Exception:  # lists of one entry per layer, no defaults, a package that is not installed
            continue
    return None


def fewer(config):
    """Two layers, by whatever name the config has for them."""
    return {field: 2 for field in LAYERS if isinstance(getattr(config, field, None), int)}


def renaming_models():
    """(name, model without memory) of every class whose default config builds and whose names on disk are others."""
    for name in sorted(dir(transformers)):
        cls = getattr(transformers, name)
        if not inspect.isclass(cls) or not issubclass(cls, transformers.PreTrainedModel) or cls.config_class is None:
            continue
        model = build(cls)
        if model is not None and get_model_conversion_mapping(model, add_legacy=False):
            yield name, model


class Marked(Source):
    """A checkpoint whose tensors tell which parameter they are."""

    def __init__(self, label, model, marks):
        self.label = self.place = label
        self.config = settings_of(model)
        self.marks = marks
        self.infos = {name: TensorInfo(dtype=torch.float32, shape=()) for name in sorted(marks)}

    def read(self, name):
        return torch.tensor(float(self.marks[name]))


def marked(model):
    """What save_pretrained writes by default, and what it writes with the names in memory, of what is only renamed.

    Names in memory that loading itself does not take as they are (AXK1, DINOv3) are left out of both.
    """
    conversions = get_model_conversion_mapping(model, add_legacy=False)
    joined = any(isinstance(one, WeightConverter) for one in conversions)
    model._weight_conversions = [one for one in conversions if not isinstance(one, PrefixChange)]  # as saving finds them
    loading = ModelNames(settings_of(model), {}, type(model).__name__)
    tied = getattr(model, "all_tied_weights_keys", None) or {}
    old, new, unread = {}, {}, 0
    for number, name in enumerate(model.state_dict()):
        if name in tied:
            continue
        try:
            saved = revert_weight_conversion(model, {name: torch.tensor(float(number))})
        except Exception:
            if not joined:
                raise
            continue  # a conversion of a number fails, a renaming of it does not
        if len(saved) != 1 or next(iter(saved.values())).shape != ():
            continue
        if loading.identity(name) != name:
            unread += 1
            continue
        old[next(iter(saved))], new[name] = number, number
    return old, new, unread


def check(name, model):
    """ "same", "renamed: n" or "refused: sentence"; an assertion where a tensor meets another one."""
    old, new, unread = marked(model)
    if old == new:
        return f"same, {unread} names in memory are not read"
    for first, second in ((old, new), (new, old)):
        sources = [Marked("first", model, first), Marked("second", model, second)]
        found = unify(sources)
        one, other = found.sources
        assert set(one.infos) == set(first), name
        assert set(other.infos) == set(first), (name, sorted(set(other.infos) ^ set(first))[:6])
        wrong = [key for key in first if one.read(key) != other.read(key)]
        assert not wrong, (name, wrong[:6])
    return f"renamed: {sum(key not in new for key in old)} of {len(old)}, {unread} names in memory are not read"


@pytest.mark.slow
def test_every_class_that_renames_comes_under_one_set_of_names():
    done = {}
    for name, model in renaming_models():
        try:
            done[name] = check(name, model)
        except (CompressionError, AssertionError) as error:
            done[name] = f"WRONG {str(error)[:300]}"
    wrong = {name: what for name, what in done.items() if what.startswith("WRONG")}
    assert len(done) > 100 and not wrong, "\n".join(f"{name}: {what}" for name, what in wrong.items())
