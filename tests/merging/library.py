"""Every class of transformers with weights that may be tied, and its model without memory for the weights."""

import copy
import inspect

import torch
import transformers
from transformers.core_model_loading import revert_weight_conversion

from hf_compress._quiet import quiet
from hf_compress.checkpoints.source import Source, TensorInfo


def tying_classes():
    """By name; reading the list imports every architecture, which takes a minute."""
    found = []
    for name in sorted(dir(transformers)):
        cls = getattr(transformers, name)
        if inspect.isclass(cls) and isinstance(getattr(cls, "_tied_weights_keys", None), dict) and cls._tied_weights_keys:
            found.append(name)
    return found


def build_default(name):
    """The class's model with its default config, without memory; None where the class cannot do that."""
    cls = getattr(transformers, name)
    try:
        with quiet(), torch.device("meta"):
            return cls(copy.deepcopy(cls.config_class()))
    except Exception:  # no defaults, or a package that is not installed
        return None


class StoredSource(Source):
    """A checkpoint of a model without weights: its names on disk, duplicates too, and numbers that say which are equal."""

    def __init__(self, model, config, equal):
        self.label = self.place = type(model).__name__
        self.config, self.equal = config, equal
        state = revert_weight_conversion(model, dict(model.state_dict()))
        self.infos = {name: TensorInfo(dtype=tensor.dtype, shape=tuple(tensor.shape)) for name, tensor in state.items()}

    def read(self, name):
        """One number for all, or another one for each."""
        return torch.tensor(0 if self.equal else list(self.infos).index(name))


def shared_groups(model):
    """Sets of names of one and the same parameter."""
    groups = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        groups.setdefault(id(parameter), set()).add(name)
    return [names for names in groups.values() if len(names) > 1]
