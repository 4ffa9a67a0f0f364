"""Evaluations see the average, training never does."""

import pytest
import torch
from transformers import TrainerCallback

from hf_compress.training.averaging.average import Average
from hf_compress.training.averaging.ema import EMA
from hf_compress.training.averaging.evaluation import EvaluationSwap
from hf_compress.training.averaging.swa import SWA
from tests.tiny import tiny_llama
from tests.training.averaging.recorded import plain_trainer
from tests.training.runs import assert_equal_bits, text_rows, weights


class Watch(TrainerCallback):
    """The weights that each evaluation batch was computed with; state_dict() would have brought the model's own back."""

    def __init__(self):
        self.seen = []

    def on_prediction_step(self, args, state, control, model=None, **kwargs):
        self.seen.append((state.global_step, {n: p.detach().clone() for n, p in model.named_parameters()}))


def evaluated(folder, *callbacks, **changes):
    return plain_trainer(folder, *callbacks, eval_strategy="steps", eval_steps=4, save_strategy="no", **changes)


def test_evaluation_uses_the_average_and_training_gets_its_weights_back(tmp_path):
    swa, watch = SWA(begin=2, every=2, evaluate_with_average=True), Watch()
    seen = {}

    class Compare(TrainerCallback):
        def on_step_end(self, args, state, control, model=None, **kwargs):
            seen[state.global_step] = weights(model), {n: t.clone() for n, t in swa.average.tensors.items()}

        def on_evaluate(self, args, state, control, model=None, **kwargs):
            assert_equal_bits(weights(model), seen[state.global_step][0])

        def on_step_begin(self, args, state, control, model=None, **kwargs):
            if state.global_step:
                assert_equal_bits(weights(model), seen[state.global_step][0])

    evaluated(tmp_path, swa, Compare(), watch).train()
    assert sorted({step for step, _ in watch.seen}) == [4, 8, 12]
    for step, used in watch.seen:
        assert_equal_bits(used, seen[step][1])


def test_the_logged_loss_is_that_of_the_averaged_model(tmp_path):
    ema = EMA(decay=0.5, evaluate_with_average=True)
    trainer = evaluated(tmp_path, ema)
    trainer.train()
    logged = [row["eval_loss"] for row in trainer.state.log_history if "eval_loss" in row][-1]
    with ema.averaged_weights(trainer.model):
        assert trainer.evaluate()["eval_loss"] == logged
    assert trainer.evaluate()["eval_loss"] != logged


def test_each_of_several_data_sets_is_evaluated_with_the_average(tmp_path):
    watch, ema = Watch(), EMA(decay=0.5, evaluate_with_average=True)
    trainer = evaluated(tmp_path, ema, watch, max_steps=4)
    trainer.eval_dataset = {"a": text_rows(count=8, seed=1), "b": text_rows(count=8, seed=2)}
    trainer.train()
    assert len(watch.seen) == 2
    for _, used in watch.seen:
        assert_equal_bits(used, ema.average.tensors)


def test_evaluation_before_the_first_point_uses_the_model(tmp_path):
    watch, ema = Watch(), EMA(begin=6, evaluate_with_average=True)
    trainer = evaluated(tmp_path, ema, watch, max_steps=6, eval_on_start=True)
    before = weights(trainer.model)
    trainer.train()
    assert [step for step, _ in watch.seen] == [0, 4, 6]
    assert_equal_bits(watch.seen[0][1], before)


def failing(folder, ema, model):
    def fail(prediction):
        raise RuntimeError("no metric")

    trainer = evaluated(folder, ema, model=model)
    trainer.compute_metrics = fail
    return trainer


def test_after_a_failed_evaluation_the_saved_model_is_the_trained_one(tmp_path):
    model, reference = tiny_llama(seed=0), tiny_llama(seed=0)
    evaluated(tmp_path / "reference", model=reference, max_steps=4).train()
    trainer = failing(tmp_path / "out", EMA(evaluate_with_average=True), model)
    with pytest.raises(RuntimeError, match="no metric"):
        trainer.train()
    assert not torch.equal(model.lm_head.weight, reference.lm_head.weight)  # nobody has been called since
    assert_equal_bits(weights(model), model.state_dict())
    trained = weights(model)
    assert_equal_bits(trained, weights_at_step_4(tmp_path))


def weights_at_step_4(tmp_path):
    """The run above, without an average, stopped where the evaluation failed."""
    trainer = failing(tmp_path / "plain", EMA(), tiny_llama(seed=0))
    with pytest.raises(RuntimeError, match="no metric"):
        trainer.train()
    return weights(trainer.model)


def test_after_a_failed_evaluation_training_goes_on_with_the_trained_weights(tmp_path):
    model = tiny_llama(seed=0)
    trainer = failing(tmp_path / "out", EMA(evaluate_with_average=True), model)
    with pytest.raises(RuntimeError, match="no metric"):
        trainer.train()
    with torch.no_grad():
        model.train()(input_ids=torch.ones(1, 2, dtype=torch.long))
    assert torch.equal(model.lm_head.weight, weights_at_step_4(tmp_path)["lm_head.weight"])
    assert not model._forward_pre_hooks and not model._state_dict_pre_hooks


def test_the_block_gives_the_weights_back_after_an_exception(tmp_path):
    ema = EMA(decay=0.5)
    trainer = evaluated(tmp_path, ema, max_steps=4)
    trainer.train()
    before = weights(trainer.model)
    with pytest.raises(KeyError), ema.averaged_weights(trainer.model):
        assert not torch.equal(trainer.model.lm_head.weight, before["lm_head.weight"])
        raise KeyError
    assert_equal_bits(weights(trainer.model), before)


def test_half_precision_weights_come_back_bit_for_bit():
    model = tiny_llama(seed=0).bfloat16()
    average = Average()
    average.add(tiny_llama(seed=1), lambda a, b: None)
    before = weights(model)
    swap = EvaluationSwap(average)
    swap.arm(model)
    model.eval()(input_ids=torch.ones(1, 2, dtype=torch.long))
    assert torch.equal(model.lm_head.weight, average.tensors["lm_head.weight"].bfloat16())
    swap.disarm()
    assert_equal_bits(weights(model), before)
