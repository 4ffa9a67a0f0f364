"""Each mistake is one sentence, and nothing is written."""

import pytest

from tests.command_line import tree

MISTAKES = {
    "allocation": ({"pruning": {"allocation": "erk"}}, "pruning.allocation: it is what this job looks for; leave erk out"),
    "threshold": (
        {"pruning": {"criterion": {"name": "threshold", "value": 0.1}}},
        "pruning.criterion: threshold makes a sparsity of its own",
    ),
    "too low": ({"sparsities": [0.2, 0.4]}, "sparsities: none is as high as pruning.sparsity=0.5"),
    "twice": ({"sparsities": [0.7, 0.7]}, "sparsities.1: 0.7 must lie between 0 and 1, and stand once"),
    "twice in six digits": (
        {"sparsities": [0.7, 0.70000001]},
        "sparsities.1: 0.7 must lie between 0 and 1, and stand once",
    ),
    "default grid": (
        {
            "pruning": {
                "pattern": {"name": "blocks", "rows": 16, "columns": 16},
                "sparsity": 0.3,
                "targets": ["re:.*q_proj"],
            }
        },
        "sparsities: of the default ones 0.9 does not fit",
    ),
    "not one": ({"sparsities": [1.0]}, "sparsities.0: 1 must lie between 0 and 1"),
    "nothing": ({"pruning": {"sparsity": 0.0}}, "pruning.sparsity: 0 prunes nothing"),
    "calibration": ({"pruning": {"criterion": "wanda"}}, "add the section `calibration: {}` to collect them"),
    "n:m": ({"pruning": {"pattern": {"name": "n_m", "n": 2, "m": 4}}, "sparsities": [0.7]}, "0.7"),
    "batch": ({"batch_size": 0}, "batch_size=0 must be 1 or more"),
    "schedule": ({"pruning": {"schedule": {"name": "cubic"}}}, "pruning.schedule: nothing is trained here"),
    "another job": ({"job": "evaluate"}, "job: 'evaluate' prunes nothing at once; name a recipe of the job sensitivity or"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence(mistake, folder, recipe, call):
    changes, said = MISTAKES[mistake]
    file = recipe(**changes)
    before = tree(folder)
    code, _, complaints = call("sensitivity", file)
    assert code == 2 and tree(folder) == before
    assert len(complaints) == 1 and said in complaints[0], complaints
