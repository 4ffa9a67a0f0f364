"""What a member's recipe says beyond a train recipe: which rows it sees, and that it may compress nothing."""

import pytest
from datasets import Dataset

from hf_compress import CompressionError, Recipe
from hf_compress._problems import RecipeError
from hf_compress.jobs.train.member import bootstrap_sample

PLAIN = {
    "job": "train-member",
    "model": "m",
    "task": "causal_lm",
    "data": {"path": "d"},
    "training": {"output_dir": "out", "seed": 5},
}


def refused(**changes):
    with pytest.raises(RecipeError) as error:
        Recipe.from_plain({**PLAIN, **changes})
    return [str(one) for one in error.value.problems]


def test_rows_and_training_have_seeds_of_their_own():
    assert Recipe.from_plain(PLAIN).seed == 5
    member = Recipe.from_plain({**PLAIN, "rows_seed": 2})
    assert (member.seed, member.training_arguments().seed) == (2, 5)


def test_a_sample_is_as_large_as_the_rows_and_says_how_many_are_out_of_bag():
    member = Recipe.from_plain({**PLAIN, "bootstrap": 11})
    rows = Dataset.from_dict({"x": list(range(1000))})
    seen, facts = member.seen_rows(rows)
    inside = set(seen["x"])
    assert len(seen) == 1000 and seen["x"] == bootstrap_sample(1000, 11)
    # (1 - 1/n)^n = 0.3677 with a standard deviation of 0.0097 (binomial bound, sqrt(0.37 * 0.63 / n) is 0.0153).
    assert abs(len(inside) / 1000 - 0.6323) < 4 * 0.0153
    out = 1000 - len(inside)
    assert facts["bootstrap"] == f"seed 11: {len(inside)} of 1,000 training examples, {out} out of bag"
    assert member.seen_rows(rows)[0]["x"] == seen["x"] != bootstrap_sample(1000, 12)


def test_without_a_sample_all_rows_are_seen():
    rows = Dataset.from_dict({"x": [1, 2]})
    seen, facts = Recipe.from_plain(PLAIN).seen_rows(rows)
    assert seen is rows and facts == {"training seed": "5"}


def test_what_a_member_cannot_be_is_refused():
    assert refused(bootstrap=-1) == ["bootstrap: seed=-1 must lie between 0 and 2**32 - 1"]
    assert refused(rows_seed=2**33) == ["rows_seed: seed=8589934592 must lie between 0 and 2**32 - 1"]
    stream = {"path": "d", "streaming": True, "max_eval": 5}
    assert any(one.startswith("bootstrap: it draws among all training rows") for one in refused(bootstrap=1, data=stream))
    assert refused(dense={}) == [
        "dense: nothing is compressed (no shrink, pruning, quantization or distillation), so one training is enough; leave"
        " it out"
    ]
    fresh = {"config": {"model_type": "llama"}}
    said = refused(model=fresh, tokenizer={"vocab_size": 300}, distillation={})
    assert said == ["dense: is missing: fresh weights must be trained before they are compressed; write `dense: {}`"]


def test_a_sum_is_of_one_label_for_a_row_and_has_one_loss():
    said = refused(residual={"earlier": ["x"]})
    assert len(said) == 1 and said[0].startswith("residual: logits are added of one label for a row")
    text = {"task": {"name": "sequence_classification", "length": 8}}
    for name in ("quantization", "distillation"):
        assert any(f"go without {name}" in one for one in refused(residual={}, **text, **{name: {}}))
    assert refused(residual={"step_size": 0.0}, **text) == ["residual: step_size=0.0 must be a finite number above 0"]


def test_an_earlier_member_that_is_not_there_is_named():
    member = Recipe.from_plain({**PLAIN, "task": "sequence_classification", "residual": {"earlier": ["./nowhere"]}})
    with pytest.raises(CompressionError, match="residual.earlier: ./nowhere cannot be loaded .*train it first"):
        member.trainer()


def test_until_is_a_step_of_a_planned_training():
    steps = {"training": {**PLAIN["training"], "max_steps": 4}}
    assert Recipe.from_plain({**PLAIN, **steps, "until": 3}).last_step == 3
    assert refused(until=3) == ["until=3 needs training.max_steps, at least as large, which schedules go by"]
    assert refused(until=0) == ["until=0 must be 1 or more"]
    assert any("complete at the last step alone" in one for one in refused(until=3, pruning={}, **steps))
