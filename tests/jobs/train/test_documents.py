"""What stands beside the weights."""

import json

from hf_compress import Recipe
from hf_compress.jobs.train.documents import describe_methods
from tests.small import recipe


def test_every_strategy_of_the_recipe_is_named_in_order(tmp_path):
    made = Recipe.from_plain(recipe(tmp_path))
    methods = describe_methods(made.compression)
    assert [(method["kind"], method["name"]) for method in methods] == [
        ("criterion", "magnitude"),
        ("pattern", "unstructured"),
        ("schedule", "cubic"),
        ("allocation", "uniform"),
        ("scheme", "W4A16"),
        ("teacher", "model"),
        ("distillation loss", "forward_kl"),
    ]
    assert methods[0]["reference"].startswith("Han, Pool, Tran, Dally (2015)")
    json.dumps(methods)
