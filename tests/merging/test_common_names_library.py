"""The names of two releases come together for every class of transformers that renames tensors between memory and disk.

What is on disk is asked of saving, what `unify` finds out comes from loading: two directions of transformers.
"""

import copy
import inspect

import pytest
import torch
import transformers
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter, revert_weight_conversion

from hf_compress import CompressionError
from hf_compress.merging.architecture import quiet
from hf_compress.merging.common_names import unify
from hf_compress.merging.source import Source, TensorInfo
from tests.merging.library import build_default


def renaming_models():
    """(name, model without memory) of every class whose default config builds and whose names on disk are others."""
    for name in sorted(dir(transformers)):
        cls = getattr(transformers, name)
        if not inspect.isclass(cls) or not issubclass(cls, transformers.PreTrainedModel) or cls.config_class is None:
            continue
        model = build_default(name)
        if model is not None and get_model_conversion_mapping(model, add_legacy=False):
            yield name, model


class Marked(Source):
    """A checkpoint whose tensors tell which parameter they are."""

    def __init__(self, label, model, marks):
        self.label = self.place = label
        with quiet():
            config = copy.deepcopy(model.config)
            config.architectures = [type(model).__name__]
            self.config = config.to_dict()
        self.marks = marks
        self.infos = {name: TensorInfo(dtype=torch.float32, shape=()) for name in sorted(marks)}

    def read(self, name):
        return torch.tensor(float(self.marks[name]))


def marked(model):
    """What save_pretrained writes by default, and what it writes with the names in memory, of what is only renamed."""
    state = list(model.state_dict())
    conversions = get_model_conversion_mapping(model, add_legacy=False)
    joined = any(isinstance(one, WeightConverter) for one in conversions)
    tied = getattr(model, "all_tied_weights_keys", None) or {}
    old, new = {}, {}
    for number, name in enumerate(state):
        if name in tied:
            continue
        if joined:  # a conversion of a number fails, a renaming of it does not
            try:
                saved = revert_weight_conversion(model, {name: torch.tensor(float(number))})
            except Exception:
                continue
            if len(saved) != 1 or next(iter(saved.values())).shape != ():
                continue
        else:
            saved = revert_weight_conversion(model, {name: torch.tensor(float(number))})
        old[next(iter(saved))], new[name] = number, number
    return old, new


def check(name, model):
    """ "same", "renamed: n" or "refused: sentence"; an assertion where a tensor meets another one."""
    old, new = marked(model)
    if old == new:
        return "same"
    for first, second in ((old, new), (new, old)):
        sources = [Marked("first", model, first), Marked("second", model, second)]
        found = unify(sources)
        one, other = found.sources
        assert set(one.infos) == set(first), name
        assert set(other.infos) == set(first), (name, sorted(set(other.infos) ^ set(first))[:6])
        wrong = [key for key in first if one.read(key) != other.read(key)]
        assert not wrong, (name, wrong[:6])
    return f"renamed: {sum(key not in new for key in old)} of {len(old)}"


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
