"""Each mistake is one sentence, before any weight changes, and nothing is written."""

import pytest
import torch

from tests.command_line import tree
from tests.small import write_model
from tests.tiny import tiny_llama

MISTAKES = {
    "schedule": ({"pruning": {"schedule": {"name": "cubic", "final": 0.7}}}, "there is no schedule; write sparsity: 0.7"),
    "masks": ({"pruning": {"masks": "from_zeros"}}, "pruning.masks: nothing is trained here, and zeros"),
    "sparsity": ({"pruning": {"sparsity": 1.5}}, "sparsity=1.5 is not a sparsity"),
    "nothing": ({"pruning": {"sparsity": 0}}, "pruning.sparsity: 0 prunes nothing"),
    "n:m of the default": (
        {"pruning": {"pattern": {"name": "n_m", "n": 1, "m": 4}}},
        "a 1:4 pattern has sparsity 0.75, but sparsity is 0.5; set sparsity to 0.75",
    ),
    "gradients block by block": (
        {"pruning": {"criterion": "taylor"}, "reconstruct": {}, "calibration": {}},
        "pruning.criterion: taylor needs gradient_size, of gradients that go through the whole model",
    ),
    "movement": ({"pruning": {"criterion": "movement"}}, "and here nothing is trained; use it in a job `train`"),
    "no calibration": ({"pruning": {"criterion": "wanda"}}, "add the section `calibration: {}` to collect them"),
    "solver without": ({"solver": "sparsegpt"}, "solver: sparsegpt needs gram, measured on examples; add the section"),
    "reconstruction without": ({"reconstruct": {}}, "reconstruct: it fits weights to what blocks give on examples"),
    "order of nothing": ({"in_order": True, "calibration": {}}, "in_order: the criterion magnitude looks at no data"),
    "solver and criterion": (
        {"solver": "sparsegpt", "pruning": {"criterion": "wanda"}, "calibration": {}},
        "sparsegpt chooses by itself",
    ),
    "n:m of another sparsity": (
        {"pruning": {"pattern": {"name": "n_m", "n": 2, "m": 4}, "sparsity": 0.7}},
        "pruning: ",
    ),
    "n:m that does not divide": (
        {"pruning": {"pattern": {"name": "n_m", "n": 3, "m": 5}, "sparsity": 0.4}},
        "pruning.pattern: model.layers.0.self_attn.q_proj",
    ),
    "allocation": (
        {"pruning": {"allocation": {"name": "per_layer", "sparsities": {"re:.*": 0.3}}}},
        "come to 0.3000 of all weights, but sparsity is 0.5; set it to 0.3000",
    ),
    "threshold and sparsity": (
        {"pruning": {"criterion": {"name": "threshold", "value": 0.1}, "sparsity": 0.7}},
        "so the sparsity is what comes out; leave sparsity out",
    ),
    "no target": ({"pruning": {"targets": ["Conv2d"]}}, "Conv2d"),
    "untrained": ({"evaluation": {"untrained": False}}, "evaluation.untrained: this job trains nothing"),
    "no rows": ({"calibration": {"num_examples": 0}}, "num_examples=0 must be 1 or more"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence(mistake, folder, recipe, call):
    changes, said = MISTAKES[mistake]
    file = recipe(**changes)
    before = tree(folder)
    code, _, complaints = call("run", file)
    assert code == 2 and tree(folder) == before
    assert len(complaints) == 1 and said in complaints[0], complaints


def test_a_check_names_what_ignore_does_not_reach(recipe, call, caplog):
    code, _, _ = call("check", recipe(pruning={"ignore": ["lm_haed"]}))
    assert code == 0 and "pruning.ignore: 'lm_haed' matches no module" in caplog.text


def test_a_stream_is_refused(folder, recipe, call):
    code, _, complaints = call("run", recipe(data={"path": str(folder / "rows.jsonl"), "streaming": True, "max_eval": 9}))
    assert code == 2 and complaints[0].startswith("data.streaming: a model is measured on counted rows")


def test_weights_that_are_no_numbers_are_refused_by_name(folder, recipe, call):
    model = tiny_llama()
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[0, 0] = torch.nan
    write_model(folder / "broken", model)
    file = recipe(model=str(folder / "broken"))
    before = tree(folder)
    code, _, complaints = call("run", file)
    assert (code, tree(folder)) == (2, before)
    assert len(complaints) == 1 and complaints[0].startswith("model.layers.1.mlp.up_proj.weight holds NaN")


def test_what_is_interrupted_leaves_nothing_and_says_what_to_do(folder, recipe, call, monkeypatch):
    def interrupted(*arguments, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr("hf_compress.jobs.prune.run.prune", interrupted)
    file = recipe()
    before = tree(folder)
    code, _, complaints = call("run", file)
    assert (code, tree(folder)) == (130, before) and complaints == ["interrupted; the same command begins again"]
