"""Training goes on from what is there: zeros stay, progress stays, and zeros that nobody pruned are free."""

import json
import logging
import shutil

import pytest
import torch
from torch import nn
from transformers import Trainer

from hf_compress import NM, CompressionError, CompressionTrainer, Constant, Cubic, Global, Pruning, prune
from hf_compress.pruning.masks import Masks
from hf_compress.quantization.qat import is_enabled
from hf_compress.training.sidecar import go_on_from
from tests.tiny import tiny_llama
from tests.training.runs import arguments, assert_equal_bits, llama_trainer, pruning, quantization, text_rows, weights
from tests.training.test_resume import StopAt


def half(**changes):
    return Pruning(schedule=Constant(final=0.5), **changes)


def sparsities(trainer):
    return [entry["sparsity"] for entry in trainer.state.log_history if "sparsity" in entry]


def zeros_of(model, job):
    return {name: module.weight == 0 for name, module in Masks(model, job).modules.items()}


@pytest.mark.parametrize("job", [half(), half(pattern=NM()), Pruning(schedule=Constant(final=0.0))], ids=["", "2:4", "0"])
def test_constant_on_a_sparse_model_keeps_its_zeros_and_adds_none(job, tmp_path):
    model = tiny_llama(seed=0)
    prune(model, half(pattern=NM()))
    before = zeros_of(model, job)
    trainer = llama_trainer(tmp_path, {"pruning": job}, model, max_steps=6)
    trainer.train()
    after = zeros_of(trainer.finalize(), job)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_layers_that_are_sparser_than_asked_stay_so(tmp_path):
    model = tiny_llama(seed=0)
    prune(model, Pruning(schedule=Constant(final=0.7), targets=[r"re:.*layers\.0\..*_proj"]))
    trainer = llama_trainer(tmp_path, {"pruning": pruning()}, model)
    trainer.train()
    for name, zeros in zeros_of(trainer.finalize(), pruning()).items():
        assert int(zeros.sum()) == round((0.7 if ".0." in name else 0.5) * zeros.numel()), name


@pytest.mark.parametrize("allocation", [{}, {"allocation": Global()}])
def test_pruning_a_sparse_model_further_never_lowers_the_sparsity(allocation, tmp_path):
    model = tiny_llama(seed=0)
    prune(model, half())
    job = Pruning(schedule=Cubic(final=0.8, every=1), **allocation)
    trainer = llama_trainer(tmp_path, {"pruning": job}, model, logging_steps=1)
    trainer.train()
    seen = sparsities(trainer)
    assert seen[0] == pytest.approx(0.5, abs=1e-3) and seen == sorted(seen)
    assert seen[-1] == pytest.approx(0.8, abs=1e-3)
    trainer.finalize()


def test_a_second_training_keeps_sparsity_and_fake_quantization(tmp_path):
    trainer = llama_trainer(tmp_path, {"pruning": pruning(), "quantization": quantization()}, logging_steps=1)
    trainer.train()
    before = zeros_of(trainer.model, trainer.pruning)
    trainer.train()
    assert set(sparsities(trainer)) == {sparsities(trainer)[-1]}
    assert is_enabled(trainer.model)
    after = zeros_of(trainer.model, trainer.pruning)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert trainer.compression_is_complete()


def test_resuming_with_more_steps_lowers_neither_sparsity_nor_quantization(tmp_path):
    jobs = {"pruning": pruning(), "quantization": quantization()}
    llama_trainer(tmp_path, jobs).train()
    longer = llama_trainer(tmp_path, jobs, max_steps=40, logging_steps=1, callbacks=[StopAt(14)])
    longer.train(resume_from_checkpoint=True)
    assert min(sparsities(longer)) == sparsities(longer)[0] < sparsities(longer)[-1]
    assert sparsities(longer)[-2:] == [sparsities(longer)[-1]] * 2 == [pytest.approx(0.5, abs=1e-3)] * 2
    assert is_enabled(longer.model)
    longer.finalize()  # it is what was asked for, though the longer schedules end later


@pytest.mark.parametrize("jobs", [{}, {"quantization": quantization()}])
def test_resuming_an_early_checkpoint_in_the_same_process_is_not_taken_for_progress(jobs, tmp_path):
    jobs = {"pruning": pruning(), **jobs}
    trainer = llama_trainer(tmp_path, jobs)
    trainer.train()
    straight = weights(trainer.model)
    shutil.rmtree(tmp_path / "checkpoint-6")
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    assert_equal_bits(straight, weights(trainer.model))


ZEROS = {
    "a layer that starts at zero": lambda model: nn.init.zeros_(model.model.layers[0].mlp.up_proj.weight),
    "a model sparser than the schedule": lambda model: prune(model, Pruning(schedule=Constant(final=0.3))),
    "rows of zeros": lambda model: model.model.layers[0].mlp.up_proj.weight.data[:5].zero_(),
}


@pytest.mark.parametrize("kind", ZEROS)
@pytest.mark.parametrize(
    "schedule",
    [pytest.param({}, marks=pytest.mark.slow), {"begin": 3, "every": 1}, {"every": 1}],
    ids=["from the start", "later", "at every step"],
)
def test_a_resumed_run_equals_the_straight_one_where_weights_were_zero_before(kind, schedule, tmp_path):
    """With warm-up the first step changes nothing, so what was zero is zero in checkpoint-1 too, pruned or not."""

    def trainer(folder, **changes):
        model = tiny_llama(seed=0)
        ZEROS[kind](model)
        job = Pruning(schedule=Cubic(**{"final": 0.5, "end": 5, "every": 2, **schedule}))
        return llama_trainer(folder, {"pruning": job}, model, max_steps=6, warmup_steps=2, **changes)

    straight = trainer(tmp_path / "straight", save_steps=1)
    straight.train()
    for stop in (1, 2, 4):
        resumed = trainer(tmp_path / "resumed", save_strategy="no")
        resumed.train(resume_from_checkpoint=str(tmp_path / "straight" / f"checkpoint-{stop}"))
        assert_equal_bits(weights(straight.model), weights(resumed.model))
    if kind == "a layer that starts at zero":
        assert int((straight.model.model.layers[0].mlp.up_proj.weight == 0).sum()) == 64 * 32 // 2


def plain_checkpoint(folder, **changes):
    Trainer(model=tiny_llama(seed=0), args=arguments(folder, **changes), train_dataset=text_rows()).train()
    return folder


@pytest.mark.parametrize("schedule", [Constant(final=0.5), Cubic(final=0.5)])
def test_a_dense_checkpoint_resumed_after_the_schedule_is_pruned_at_the_next_step(schedule, tmp_path, caplog):
    plain_checkpoint(tmp_path, save_steps=6, max_steps=6, logging_steps=1)
    trainer = llama_trainer(tmp_path, {"pruning": Pruning(schedule=schedule)}, logging_steps=1)
    assert not trainer.compression_is_complete()
    with caplog.at_level(logging.WARNING):
        trainer.train(resume_from_checkpoint=True)
    assert "the model of step 6 has sparsity 0.0000 and the schedule asks for 0.5000 there" in caplog.text
    assert sparsities(trainer) == [pytest.approx(0.5, abs=1e-3)] * 6
    trainer.finalize()


@pytest.mark.parametrize(
    ("jobs", "words"),
    [({"pruning": half()}, "not pruned"), ({"quantization": quantization()}, "not trained with quantization")],
    ids=["pruning", "quantization"],
)
def test_a_dense_checkpoint_of_the_last_step_is_never_complete_and_the_reason_is_right(jobs, words, tmp_path):
    plain_checkpoint(tmp_path)
    trainer = llama_trainer(tmp_path, jobs)
    trainer.train(resume_from_checkpoint=True)
    assert trainer.state.global_step == 12 and not trainer.compression_is_complete()
    with pytest.raises(CompressionError, match=f"step 12 that training went on from is {words}.*raise max_steps above 12"):
        trainer.finalize()


def test_a_finished_checkpoint_is_complete_without_a_step(tmp_path):
    jobs = {"pruning": pruning(), "quantization": quantization()}
    llama_trainer(tmp_path, jobs).train()
    again = llama_trainer(tmp_path, jobs)
    go_on_from(again, str(tmp_path / "checkpoint-12"))
    assert again.compression_is_complete()


def test_finalize_before_training_says_so(tmp_path):
    with pytest.raises(CompressionError, match="was not trained yet"):
        llama_trainer(tmp_path, {"pruning": half()}).finalize()


def test_layers_too_small_for_the_exact_sparsity_are_finalized_at_the_nearest(tmp_path, caplog):
    model = tiny_llama(seed=0)
    model.tiny = nn.Linear(2, 2)
    job = Pruning(schedule=Constant(final=0.55), targets=["tiny"])
    trainer = llama_trainer(tmp_path, {"pruning": job}, model, max_steps=2)
    with caplog.at_level(logging.WARNING):
        trainer.train()
    assert int((trainer.finalize().tiny.weight == 0).sum()) == 2
    assert "sparsity 0.5000 is the nearest to 0.55" in caplog.text


def test_the_start_says_what_pruning_covers_and_leaves_out(tmp_path, caplog):
    model = tiny_llama(seed=0)
    torch.nn.utils.parametrizations.weight_norm(model.model.layers[0].mlp.up_proj)
    trainer = CompressionTrainer(
        model=model, args=arguments(tmp_path, max_steps=2), train_dataset=text_rows(), pruning=half()
    )
    with caplog.at_level(logging.INFO):
        trainer.train()
    assert "pruning covers 13 of 1" in caplog.text and "of the weights; left: " in caplog.text
    assert "pruning leaves out model.layers.0.mlp.up_proj: its weight is computed" in caplog.text
    written = json.loads((tmp_path / "checkpoint-2" / "compression.json").read_text())
    covered = written["pruning_coverage"]
    assert 0 < covered["share"] == covered["matched"] / covered["total"] < 1
    assert written["sparsity_of_all_weights"] == pytest.approx(0.5 * covered["share"], abs=1e-6)
    trainer.finalize()


def test_what_a_sidecar_says_of_free_zeros_is_refused_where_it_is_damaged(tmp_path):
    llama_trainer(tmp_path, {"pruning": half()}, max_steps=3).train()
    file = tmp_path / "checkpoint-3" / "compression.json"
    data = json.loads(file.read_text())
    assert data["progress"]["free_zeros"] == {}
    for damaged in ([], {"model.layers.0.mlp.up_proj": {"shape": [64, 32], "bits": "eNo="}}, {"a": {}}):
        data["progress"]["free_zeros"] = damaged
        file.write_text(json.dumps(data))
        with pytest.raises(CompressionError, match="cannot be read; resume from an earlier checkpoint"):
            llama_trainer(tmp_path, {"pruning": half()}, max_steps=6).train(resume_from_checkpoint=True)
