"""Configs that no machine could build are refused before one tries."""

import pytest
import torch
from torch import nn

from hf_compress import _model_size
from hf_compress._errors import CompressionError
from hf_compress._model_size import bounded_modules, check_counts, check_shapes

TOO_MANY = {
    "num_hidden_layers": (2000, 1000),
    "n_layer": (1001, 1000),
    "encoder_layers": (5000, 1000),
    "depths": ([3, 2000], 1000),
    "num_labels": (10**12, 2**20),
    "num_stages": (10**6, 10_000),
    "num_local_experts": (10**9, 2**24),
}


@pytest.mark.parametrize("key", TOO_MANY)
def test_more_than_any_model_has_is_refused_also_inside_a_nested_config(key):
    value, most = TOO_MANY[key]
    for config in ({key: value}, {"text_config": {key: value}}):
        with pytest.raises(CompressionError, match=rf"^here: {key}=\d+ is more than any model has; write at most {most}$"):
            check_counts(config, "here")
    check_counts({key: [3, most] if isinstance(value, list) else most}, "here")


def test_sizes_that_are_no_counts_pass():
    check_counts({"block_size": 2048, "layer_norm_eps": 1e-5, "vocab_size": 2**20, "num_layers_scale": "x"}, "here")


def test_a_weight_that_no_machine_holds_is_refused_by_name():
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2**27))
    with pytest.raises(CompressionError, match=r"here: the config makes 1\.weight 134217728 x 4 large; correct its sizes"):
        check_shapes(model, "here")
    check_shapes(model[:1], "here")


def test_building_stops_at_more_modules_than_any_model_has(monkeypatch):
    monkeypatch.setattr(_model_size, "_MOST_MODULES", 5)
    with bounded_modules():
        nn.Sequential(*(nn.Identity() for _ in range(5)))
    with pytest.raises(CompressionError, match="more than 5 modules; correct the number of its layers"), bounded_modules():
        nn.Sequential(*(nn.Identity() for _ in range(6)))
    nn.Sequential(*(nn.Identity() for _ in range(6)))
