"""Resume, checkpoints and what an average leaves alone, through whole runs."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from hf_compress import CompressionError
from hf_compress.training.averaging.ema import EMA
from hf_compress.training.averaging.snapshots import Snapshots
from hf_compress.training.averaging.swa import SWA
from tests.tiny import tiny_llama, tiny_tokenizer
from tests.training.averaging.recorded import plain_trainer
from tests.training.runs import assert_equal_bits, llama_trainer, pruning, vit_trainer, weights
from tests.training.test_resume import StopAt


def averages(evaluate=False):
    return EMA(decay=0.9, evaluate_with_average=evaluate), SWA(begin=3, every=2)


def run(trainer_for, folder, stop, resume, **changes):
    """The callbacks and the weights at the end."""
    callbacks = averages()
    stops = [] if stop is None else [StopAt(stop)]
    trainer = trainer_for(folder, *callbacks, *stops, **changes)
    trainer.train(resume_from_checkpoint=resume)
    return callbacks, weights(trainer.model)


def compressed_llama(folder, *callbacks, **changes):
    return llama_trainer(folder, callbacks=list(callbacks), **changes)


def compressed_vit(folder, *callbacks, **changes):
    return vit_trainer(folder, {"pruning": pruning()}, callbacks=list(callbacks), **changes)


@pytest.mark.parametrize("trainer_for", [plain_trainer, compressed_llama, compressed_vit])
@pytest.mark.parametrize("stop", [3, 9])
def test_resumed_run_equals_straight_run_bit_for_bit_average_included(trainer_for, stop, tmp_path):
    straight, end = run(trainer_for, tmp_path / "straight", None, None)
    run(trainer_for, tmp_path / "resumed", stop, None)
    resumed, resumed_end = run(trainer_for, tmp_path / "resumed", None, True)
    assert_equal_bits(end, resumed_end)
    for one, other in zip(straight, resumed, strict=True):
        assert one.average.num_points == other.average.num_points
        assert_equal_bits(one.average.tensors, other.average.tensors)
    for name in ("ema", "swa"):
        files = [tmp_path / side / "averaged" / name / "model.safetensors" for side in ("straight", "resumed")]
        assert_equal_bits(*map(load_file, files))


@pytest.mark.parametrize("changes", [{}, {"eval_strategy": "steps", "eval_steps": 2}, {"gradient_accumulation_steps": 2}])
def test_training_ends_with_the_same_bits_with_and_without_averages(changes, tmp_path):
    plain = plain_trainer(tmp_path / "plain", **changes)
    plain.train()
    averaged = plain_trainer(tmp_path / "averaged", *averages(evaluate=True), **changes)
    averaged.train()
    assert_equal_bits(weights(plain.model), weights(averaged.model))
    losses = [[row["loss"] for row in trainer.state.log_history if "loss" in row] for trainer in (plain, averaged)]
    assert losses[0] == losses[1]


def test_every_checkpoint_from_begin_on_holds_a_loadable_average(tmp_path):
    trainer = plain_trainer(tmp_path, EMA(begin=4), save_total_limit=2)
    trainer.processing_class = trainer.callback_handler.processing_class = tiny_tokenizer()
    trainer.train()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["averaged", "checkpoint-12", "checkpoint-9"]
    for folder in (tmp_path / "checkpoint-9", tmp_path / "checkpoint-12", tmp_path):
        loaded, info = AutoModelForCausalLM.from_pretrained(folder / "averaged" / "ema", output_loading_info=True)
        assert not any(info.values())
        assert (folder / "averaged" / "ema" / "tokenizer.json").is_file()
    ema = next(c for c in trainer.callback_handler.callbacks if isinstance(c, EMA))
    assert_equal_bits(weights(loaded), weights(ema.averaged_model(trainer.model)))
    assert not torch.equal(loaded.lm_head.weight, trainer.model.lm_head.weight)


def test_averaged_checkpoint_has_the_type_of_the_model(tmp_path):
    plain_trainer(tmp_path, EMA(), model=tiny_llama(seed=0).bfloat16(), max_steps=3).train()
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "averaged" / "ema")
    assert loaded.dtype is torch.bfloat16
    stored = load_file(tmp_path / "checkpoint-3" / "averaged" / "ema" / "state" / "average.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float32}


def test_average_of_a_pruned_model_has_its_zeros_and_no_others(tmp_path):
    ema, loose = EMA(decay=0.9), EMA(decay=0.9, keep_zeros=False, name="loose")
    trainer = llama_trainer(tmp_path, {"pruning": pruning()}, callbacks=[ema, loose])
    trainer.train()
    name = "model.layers.0.mlp.up_proj.weight"
    zeros = trainer.model.get_parameter(name) == 0
    averaged, whole = (load_file(tmp_path / "averaged" / n / "model.safetensors")[name] for n in ("ema", "loose"))
    assert torch.equal(averaged == 0, zeros) and int(zeros.sum()) == zeros.numel() // 2
    assert int((whole == 0).sum()) < zeros.numel() // 2
    assert torch.equal(averaged[~zeros], whole[~zeros])


def test_frozen_parameters_are_not_averaged_and_are_written(tmp_path):
    model = tiny_llama(seed=0)
    model.model.embed_tokens.weight.requires_grad_(False)
    ema = EMA()
    plain_trainer(tmp_path, ema, model=model, max_steps=3).train()
    assert "model.embed_tokens.weight" not in ema.average.tensors
    stored = load_file(tmp_path / "averaged" / "ema" / "model.safetensors")
    assert torch.equal(stored["model.embed_tokens.weight"], model.model.embed_tokens.weight)


def test_tied_weights_are_written_once_and_averaged(tmp_path):
    model = tiny_llama(seed=0, tie_word_embeddings=True)
    ema = EMA(decay=0.5)
    plain_trainer(tmp_path, ema, model=model, max_steps=3).train()
    assert "lm_head.weight" not in load_file(tmp_path / "averaged" / "ema" / "model.safetensors")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "averaged" / "ema")
    assert torch.equal(loaded.lm_head.weight, ema.average.tensors["model.embed_tokens.weight"])


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")  # peft asks for it
def test_a_lora_adapter_is_averaged_alone_and_resumes_exactly(tmp_path):
    from peft import LoraConfig, PeftModel, get_peft_model

    def adapted():
        torch.manual_seed(0)
        return get_peft_model(tiny_llama(seed=0), LoraConfig(r=2, target_modules=["q_proj"]))

    ema = EMA(decay=0.5)
    plain_trainer(tmp_path / "straight", ema, model=adapted()).train()
    assert len(ema.average.tensors) == 4
    resumed = EMA(decay=0.5)
    shutil.copytree(tmp_path / "straight" / "checkpoint-6", tmp_path / "resumed" / "checkpoint-6")
    plain_trainer(tmp_path / "resumed", resumed, model=adapted()).train(resume_from_checkpoint=True)
    assert_equal_bits(ema.average.tensors, resumed.average.tensors)
    loaded = PeftModel.from_pretrained(tiny_llama(seed=0), tmp_path / "straight" / "averaged" / "ema")
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_B.default.weight"
    (averaged,) = (t for n, t in ema.average.tensors.items() if n in name and "lora_B" in n)
    assert torch.equal(loaded.get_parameter(name), averaged)


def test_with_the_best_model_comes_its_average(tmp_path):
    trainer = plain_trainer(
        tmp_path,
        EMA(decay=0.5, evaluate_with_average=True),
        load_best_model_at_end=True,
        eval_strategy="steps",
        eval_steps=3,
    )
    trainer.train()  # on random tokens, so the evaluation loss soon rises
    best = tmp_path / "checkpoint-3"
    assert trainer.state.best_model_checkpoint == str(best)
    files = [folder / "averaged" / "ema" / "model.safetensors" for folder in (best, tmp_path)]
    assert_equal_bits(*map(load_file, files))


# Where a run goes on


def test_average_begins_where_a_run_without_one_is_resumed(tmp_path):
    plain_trainer(tmp_path, StopAt(6)).train()
    missed = plain_trainer(tmp_path, SWA(begin=5))
    with pytest.raises(CompressionError, match=r"resumes at step 6.*set begin=6 to start"):
        missed.train(resume_from_checkpoint=True)
    swa = SWA(begin=6, every=1)
    plain_trainer(tmp_path, swa).train(resume_from_checkpoint=True)
    assert swa.average.num_points == 7


def test_a_checkpoint_elsewhere_is_found_by_the_training_argument(tmp_path):
    plain_trainer(tmp_path / "first", EMA(), max_steps=6).train()
    there = str(tmp_path / "first" / "checkpoint-6")
    lost = plain_trainer(tmp_path / "second", EMA())
    with pytest.raises(CompressionError, match="resume_from_checkpoint holds this average"):
        lost.train(resume_from_checkpoint=there)
    ema = EMA()
    plain_trainer(tmp_path / "second", ema, resume_from_checkpoint=there).train(resume_from_checkpoint=there)
    assert ema.average.num_points == 13


def test_an_average_of_another_run_is_refused(tmp_path):
    """output_dir has a checkpoint-6 of its own, and the run resumes from another."""
    plain_trainer(tmp_path / "own", EMA(), max_steps=6).train()
    plain_trainer(tmp_path / "other", EMA(), max_steps=6, learning_rate=1e-3).train()
    mixed = plain_trainer(tmp_path / "own", EMA())
    with pytest.raises(CompressionError, match="saved with other weights than the model has"):
        mixed.train(resume_from_checkpoint=str(tmp_path / "other" / "checkpoint-6"))


def test_other_settings_and_damage_are_refused(tmp_path):
    plain_trainer(tmp_path, EMA(), max_steps=6).train()
    other = plain_trainer(tmp_path, EMA(decay=0.5))
    with pytest.raises(CompressionError, match=r"averaged with decay=0.999 and this run has decay=0.5"):
        other.train(resume_from_checkpoint=True)
    file = tmp_path / "checkpoint-6" / "averaged" / "ema" / "state" / "average.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    damaged = plain_trainer(tmp_path, EMA())
    with pytest.raises(CompressionError, match="is damaged.*resume from an earlier checkpoint"):
        damaged.train(resume_from_checkpoint=True)


def test_a_run_killed_between_checkpoint_and_average_goes_on(tmp_path):
    """The Trainer has written trainer_state.json, and on_save never came."""
    straight = EMA()
    plain_trainer(tmp_path / "straight", straight).train()
    shutil.copytree(tmp_path / "straight" / "checkpoint-6", tmp_path / "killed" / "checkpoint-6")
    waiting = tmp_path / "killed" / "_averaged"
    waiting.mkdir()
    (tmp_path / "killed" / "checkpoint-6" / "averaged" / "ema").rename(waiting / "ema-6")
    shutil.copytree(waiting / "ema-6", waiting / "_ema-9")  # cut off while it was written
    resumed = EMA()
    plain_trainer(tmp_path / "killed", resumed).train(resume_from_checkpoint=True)
    assert_equal_bits(straight.average.tensors, resumed.average.tensors)
    assert (tmp_path / "killed" / "checkpoint-6" / "averaged" / "ema" / "config.json").is_file()
    assert not waiting.exists()


def test_training_again_starts_a_new_average(tmp_path):
    ema = EMA()
    trainer = plain_trainer(tmp_path, ema, max_steps=3)
    trainer.train()
    trainer.train()
    assert ema.average.num_points == 4


def test_saving_by_epochs_and_by_the_best_metric_writes_the_average_too(tmp_path):
    plain_trainer(tmp_path / "epoch", EMA(), max_steps=-1, num_train_epochs=1, save_strategy="epoch").train()
    assert (tmp_path / "epoch" / "checkpoint-8" / "averaged" / "ema" / "model.safetensors").is_file()
    settings = {"save_strategy": "best", "metric_for_best_model": "loss", "eval_strategy": "steps", "eval_steps": 4}
    trainer = plain_trainer(tmp_path / "best", EMA(), **settings)
    trainer.train()
    assert trainer.state.best_global_step
    for folder in (tmp_path / "best").glob("checkpoint-*"):
        assert (folder / "averaged" / "ema" / "model.safetensors").is_file()
        assert json.loads((folder / "trainer_state.json").read_text())["global_step"]


def test_two_averages_of_one_name_or_in_one_evaluation_are_refused(tmp_path):
    with pytest.raises(CompressionError, match="two averages are named 'ema'"):
        plain_trainer(tmp_path, EMA(), EMA(decay=0.5)).train()
    with pytest.raises(CompressionError, match="an evaluation sees one average"):
        plain_trainer(tmp_path, EMA(evaluate_with_average=True), SWA(evaluate_with_average=True)).train()


def test_a_parameter_that_is_unfrozen_later_is_refused(tmp_path):
    from transformers import TrainerCallback

    class Unfreeze(TrainerCallback):
        def on_step_begin(self, args, state, control, model=None, **kwargs):
            model.lm_head.weight.requires_grad_(state.global_step >= 2)

    model = tiny_llama(seed=0)
    model.lm_head.weight.requires_grad_(False)
    with pytest.raises(CompressionError, match=r"lm_head.weight was frozen at the first point"):
        plain_trainer(tmp_path, EMA(), Unfreeze(), model=model).train()


def test_asking_before_the_first_point_is_refused():
    with pytest.raises(CompressionError, match="ema has no point yet"):
        EMA().averaged_model(tiny_llama())


@pytest.mark.parametrize(("kind", "link"), [(EMA, "_averaged"), (EMA, "averaged"), (Snapshots, "snapshots")])
def test_a_link_where_averages_are_written_is_refused_before_the_first_step(kind, link, tmp_path):
    mine = tmp_path / "mine"
    (mine / "ema-3").mkdir(parents=True)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / link).symlink_to(mine)
    trainer = plain_trainer(tmp_path / "run", EMA(decay=0.9) if kind is EMA else Snapshots(every=4))
    with pytest.raises(CompressionError, match=f"{link} is a symbolic link to"):
        trainer.train()
    assert trainer.state.global_step == 0 and [path.name for path in mine.iterdir()] == ["ema-3"]
