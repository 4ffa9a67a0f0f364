"""A loss with a trained part, through training: optimizer, clipping, checkpoints, resuming."""

import copy

import pytest
import torch
from safetensors.torch import load_file
from transformers import LlamaForCausalLM, TrainerCallback

from hf_compress import CompressionError, CompressionTrainer, Distillation, ForwardKL, ModelTeacher
from hf_compress.distillation.projections import FILE
from tests.distillation.inside import Maps, States
from tests.tiny import tiny_llama
from tests.training.runs import assert_equal_bits, everything, llama_trainer, weights
from tests.training.test_distillation_step import logged


def job(loss=None, **teacher):
    teacher = tiny_llama(seed=1, **(teacher or {"hidden_size": 48}))
    return Distillation(teacher=ModelTeacher(model=teacher), losses=[(0.4, ForwardKL()), (0.3, loss or States())])


def parts(trainer):
    return {name: value.clone() for name, value in trainer.projections.modules.state_dict().items()}


class Watch(TrainerCallback):
    """Gradients as the optimizer sees them."""

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        self.gradients = [p.grad.clone() for p in (*model.parameters(), *self.trainer.projections.modules.parameters())]


def test_it_is_trained_with_the_runs_learning_rate_and_weight_decay_by_the_hosts_rule(tmp_path):
    trainer = llama_trainer(tmp_path, {"distillation": job()}, max_steps=4, weight_decay=0.1, logging_steps=1)
    before = parts(trainer)
    trainer.train()
    own = {id(one): name for name, one in trainer.projections.modules.named_parameters()}
    groups = [
        ([own[id(one)] for one in group["params"]], group["weight_decay"], group["initial_lr"])
        for group in trainer.optimizer.param_groups
        if any(id(one) in own for one in group["params"])
    ]
    assert groups == [(["1.weight"], 0.1, 1e-2), (["1.bias"], 0.0, 1e-2)]
    assert {group["lr"] for group in trainer.optimizer.param_groups} == {trainer.optimizer.param_groups[0]["lr"]}
    assert all(not torch.equal(before[name], value) for name, value in parts(trainer).items())


def test_it_learns(tmp_path):
    teacher = ModelTeacher(model=tiny_llama(seed=1, hidden_size=48))
    alone = Distillation(teacher=teacher, losses=[(1.0, States())], task_weight=0.0)
    trainer = llama_trainer(tmp_path, {"distillation": alone}, logging_steps=1, save_strategy="no")
    trainer.train()
    assert logged(trainer)[-1] < logged(trainer)[0] / 2


def test_it_is_clipped_with_the_model(tmp_path):
    watch = Watch()
    trainer = llama_trainer(tmp_path, {"distillation": job()}, callbacks=[watch], max_steps=1, max_grad_norm=1e-3)
    watch.trainer = trainer
    trainer.train()
    assert float(torch.stack([one.norm() for one in watch.gradients]).norm()) == pytest.approx(1e-3, rel=1e-3)
    assert all(float(one.norm()) > 0 for one in watch.gradients[-2:])


@pytest.mark.parametrize("accumulation", [1, 2])
def test_its_gradient_is_that_of_a_computation_by_hand_and_does_not_pile_up(accumulation, tmp_path):
    """The last of three steps: hidden states of plain transformers, one mean, torch's own backward pass."""
    watch, student, teacher = Watch(), tiny_llama(seed=0), tiny_llama(seed=1, hidden_size=48)
    losses = Distillation(teacher=ModelTeacher(model=teacher), losses=[(0.3, States())], task_weight=0.7)
    trainer = llama_trainer(
        tmp_path,
        {"distillation": losses},
        model=student,
        callbacks=[watch],
        max_steps=3,
        learning_rate=0.0,
        max_grad_norm=0.0,
        per_device_train_batch_size=32 // accumulation,
        gradient_accumulation_steps=accumulation,
    )
    watch.trainer = trainer
    trainer.train()
    ids = torch.tensor(trainer.train_dataset["input_ids"])
    student, part = student.eval(), copy.deepcopy(trainer.projections[0])
    student.zero_grad(), part.zero_grad()
    answer = student(ids, labels=ids, output_hidden_states=True)
    with torch.no_grad():
        wanted = teacher.eval()(ids, output_hidden_states=True).hidden_states[1]
    (0.7 * answer.loss + 0.3 * (part(answer.hidden_states[1]) - wanted).square().mean()).backward()
    expected = [p.grad for p in (*student.parameters(), *part.parameters())]
    for measured, by_hand in zip(watch.gradients, expected, strict=True):
        torch.testing.assert_close(measured, by_hand, rtol=2e-4, atol=1e-7)  # fp32 sums in another order


def test_it_stands_in_checkpoints_beside_the_model_and_never_in_it(tmp_path):
    trainer = llama_trainer(tmp_path, {"distillation": job()}, max_steps=3)
    names = set(weights(trainer.model))
    trainer.train()
    assert_equal_bits(load_file(tmp_path / "checkpoint-3" / FILE), parts(trainer))
    assert set(load_file(tmp_path / "checkpoint-3" / "model.safetensors")) <= names == set(weights(trainer.model))
    trainer.save_model(str(tmp_path / "end"))
    assert not (tmp_path / "end" / FILE).exists()
    trainer.finalize().save_pretrained(tmp_path / "result")
    assert not (tmp_path / "result" / FILE).exists()
    _, info = LlamaForCausalLM.from_pretrained(tmp_path / "result", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]


def test_an_interrupted_run_goes_on_to_the_same_bits(tmp_path):
    class Interrupt(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 8:
                raise KeyboardInterrupt

    jobs = {**everything(), "distillation": job()}
    straight = llama_trainer(tmp_path / "straight", jobs)
    straight.train()
    with pytest.raises(KeyboardInterrupt):
        llama_trainer(tmp_path / "broken", jobs, callbacks=[Interrupt()]).train()
    resumed = llama_trainer(tmp_path / "broken", jobs)
    resumed.train(resume_from_checkpoint=True)
    assert_equal_bits(weights(straight.model), weights(resumed.model))
    assert_equal_bits(parts(straight), parts(resumed))
    (tmp_path / "broken" / "checkpoint-6" / FILE).unlink()
    with pytest.raises(CompressionError, match=f"checkpoint-6 has no {FILE}"):
        llama_trainer(tmp_path / "broken", jobs).train(resume_from_checkpoint=str(tmp_path / "broken" / "checkpoint-6"))


def test_a_fresh_model_gets_fresh_parts_and_the_same_run(tmp_path):
    def make():
        return tiny_llama(seed=0)

    ends = []
    for given in ({"model": make()}, {"model_init": make}):
        first = llama_trainer(tmp_path, {"distillation": job()}, model=make(), max_steps=3, save_strategy="no")
        trainer = CompressionTrainer(
            **given, args=first.args, train_dataset=first.train_dataset, distillation=first.distillation
        )
        trainer.train()
        ends.append({**weights(trainer.model), **parts(trainer)})
    assert_equal_bits(*ends)


def test_attention_maps_are_compared_and_both_models_build_them(tmp_path):
    student, teacher = tiny_llama(seed=0), tiny_llama(seed=0)
    losses = Distillation(teacher=ModelTeacher(model=teacher), losses=[(0.5, Maps())])
    trainer = llama_trainer(tmp_path, {"distillation": losses}, model=student, max_steps=4, logging_steps=1)
    assert student.config._attn_implementation == teacher.config._attn_implementation == "eager"
    assert not trainer.projections
    trainer.train()
    assert logged(trainer)[0] == 0 and logged(trainer)[-1] > 0
    assert logged(trainer, "teacher_agreement") == []


def test_checkpointed_activations_give_the_same_run_and_maps_that_they_cut_off_are_refused(tmp_path):
    ends = []
    for loss in (States(), Maps()):
        for checkpointing in (False, True):
            changes = {"max_steps": 2, "save_strategy": "no", "activation_checkpointing": checkpointing}
            trainer = llama_trainer(tmp_path, {"distillation": job(loss, hidden_size=32)}, **changes)
            trainer.train()
            ends.append(weights(trainer.model))
    assert_equal_bits(ends[0], ends[1])
    assert_equal_bits(ends[2], ends[3])
    reentrant = {"activation_checkpointing": True, "activation_checkpointing_kwargs": {"use_reentrant": True}}
    trainer = llama_trainer(tmp_path, {"distillation": job(Maps(), hidden_size=32)}, max_steps=1, **reentrant)
    with pytest.raises(CompressionError, match="attention maps carry no gradient.*set use_reentrant to false"):
        trainer.train()


def test_what_the_models_do_not_have_is_refused_when_the_trainer_is_made(tmp_path):
    with pytest.raises(CompressionError, match="layer=3 is past the 2 layers of the student"):
        llama_trainer(tmp_path, {"distillation": job(States(layer=3))})
    with pytest.raises(CompressionError, match="layer=2 is past the 1 layers of the teacher"):
        llama_trainer(tmp_path, {"distillation": job(States(layer=2), num_hidden_layers=1)})


def test_schedules_that_know_the_optimizer_and_optimizers_without_groups_are_refused(tmp_path):
    model = tiny_llama(seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    made = llama_trainer(tmp_path, {"distillation": job()}, model=model)

    def trainer(**given):
        return CompressionTrainer(
            model=model, args=made.args, train_dataset=made.train_dataset, distillation=made.distillation, **given
        )

    given = trainer(optimizers=(optimizer, torch.optim.lr_scheduler.ConstantLR(optimizer)))
    with pytest.raises(CompressionError, match="the learning rate's schedule was made before the losses' projections"):
        given.train()
    given = trainer(optimizers=(torch.optim.SGD(model.parameters(), lr=1e-2), None))
    given.create_optimizer()
    assert len(given.optimizer.param_groups) == 3 and given.optimizer.param_groups[-1]["lr"] == 1e-2
    given.create_optimizer()
    assert len(given.optimizer.param_groups) == 3
