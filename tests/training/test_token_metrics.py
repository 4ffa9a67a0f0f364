"""SFT with distillation logs what SFT logs."""

import pytest

from tests.tiny import tiny_llama
from tests.training.test_distillation_step import half, logged, sft

pytest.importorskip("trl", reason="the trl extra is not installed")


def run(folder, changes=None, model=None, **jobs):
    config = {"max_steps": 3, "learning_rate": 0.0, **(changes or {})}
    trainer = sft(folder, model or tiny_llama(seed=0), config=config, **jobs)
    trainer.train()
    trainer.evaluate(trainer.train_dataset.select(range(4)))
    return trainer


@pytest.mark.parametrize("packing", [False, True])
def test_entropy_accuracy_and_tokens_are_those_of_sft_alone(packing, tmp_path):
    changes = {"packing": packing, "max_length": 32, "padding_free": packing}
    plain = run(tmp_path / "plain", changes)
    distilled = run(tmp_path / "distilled", changes, distillation=half(tiny_llama(seed=1)))
    for key in ("entropy", "mean_token_accuracy", "num_tokens", "eval_num_tokens", "eval_loss"):
        assert len(logged(plain, key)) >= 1
        assert logged(distilled, key) == pytest.approx(logged(plain, key), rel=1e-4), key
    assert logged(distilled, "num_tokens")[-1] > 0


def test_mixtures_of_experts_log_the_auxiliary_loss(tmp_path):
    from transformers import MixtralConfig, MixtralForCausalLM, set_seed

    def model():
        set_seed(0)
        return MixtralForCausalLM(
            MixtralConfig(
                vocab_size=64,
                hidden_size=32,
                intermediate_size=32,
                num_hidden_layers=1,
                num_attention_heads=4,
                num_key_value_heads=2,
                num_local_experts=4,
                pad_token_id=0,
                router_aux_loss_coef=0.1,
            )
        )

    plain = run(tmp_path / "plain", model=model())
    distilled = run(tmp_path / "distilled", model=model(), distillation=half(model()))
    assert logged(distilled, "aux_loss") == pytest.approx(logged(plain, "aux_loss"), rel=1e-4)
    losses = zip(logged(distilled, "task_loss"), logged(distilled, "aux_loss"), strict=True)
    assert logged(distilled, "loss") == pytest.approx([0.5 * task + 0.1 * aux for task, aux in losses], rel=1e-3)
