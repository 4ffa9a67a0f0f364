"""Zeros that somebody else made stay through training: `Pruning(masks="from_zeros")`."""

import logging

import pytest
import torch
from torch import nn
from torch.nn.utils import prune as independent
from transformers import LlamaForCausalLM

from hf_compress import CompressionError, Magnitude, Pruning, Recipe, Wanda, prune, save_compressed
from hf_compress.checkpoints.dequantized import dense_source
from hf_compress.checkpoints.source import open_source
from hf_compress.jobs.train.documents import ZEROS_KEPT
from tests.command_line import tree
from tests.small import recipe, write_jsonl
from tests.small import text_rows as written_rows
from tests.tiny import tiny_llama, tiny_tokenizer
from tests.training.runs import assert_equal_bits, distillation, llama_trainer, quantization, weights
from tests.training.test_resume import StopAt

KEPT = Pruning(masks="from_zeros")


def pruned_elsewhere(folder):
    """A folder with a Llama that torch.nn.utils.prune has pruned: unlike layers, a dense one and a row that is gone."""
    model = tiny_llama(seed=0)
    for number, layer in enumerate(model.model.layers):
        for linear in (layer.mlp.up_proj, layer.mlp.down_proj, layer.self_attn.q_proj):
            independent.l1_unstructured(linear, "weight", amount=(0.5, 0.7)[number])
            independent.remove(linear, "weight")
    independent.ln_structured(model.model.layers[0].self_attn.k_proj, "weight", amount=3, n=2, dim=0)
    independent.remove(model.model.layers[0].self_attn.k_proj, "weight")
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return pruned_elsewhere(tmp_path_factory.mktemp("pruned"))


def load(folder):
    return LlamaForCausalLM.from_pretrained(folder)


def zeros_of(model):
    return {name: weight == 0 for name, weight in model.named_parameters() if "layers" in name and weight.dim() == 2}


def assert_zero(written, folder):
    """That a written checkpoint has the zeros of the folder; returns them."""
    zeros = zeros_of(load(folder))
    assert all(bool((written.read(name)[zero] == 0).all()) for name, zero in zeros.items())
    return zeros


TRAININGS = {
    "fine-tuning": ({}, {}),
    "SGD with momentum and decay": ({}, {"optim": "sgd", "optim_args": "momentum=0.9", "weight_decay": 0.1}),
    "Adafactor": ({}, {"optim": "adafactor", "weight_decay": 0.1}),
    "taught and rounded": ({"distillation": distillation(), "quantization": quantization()}, {"weight_decay": 0.1}),
    "no clipping, accumulating": ({}, {"max_grad_norm": 0.0, "gradient_accumulation_steps": 2}),
}


@pytest.mark.parametrize("jobs, changes", TRAININGS.values(), ids=TRAININGS.keys())
def test_every_zero_stays_and_every_other_weight_trains(jobs, changes, folder, tmp_path):
    before = weights(load(folder))
    trainer = llama_trainer(tmp_path, {"pruning": KEPT, **jobs}, load(folder), **{"save_strategy": "no", **changes})
    trainer.train()
    after = trainer.model.state_dict()
    for name, zeros in zeros_of(load(folder)).items():
        assert torch.equal(after[name] == 0, zeros), name
        assert not torch.equal(after[name][~zeros], before[name][~zeros]), name
    finished = trainer.finalize()
    if jobs:
        save_compressed(finished, tmp_path / "out")
        assert_zero(dense_source(open_source(tmp_path / "out", "it")), folder)


@pytest.mark.parametrize("stop", [3, 9])
def test_a_resumed_run_ends_with_the_same_bits(stop, folder, tmp_path):
    straight = llama_trainer(tmp_path / "straight", {"pruning": KEPT}, load(folder))
    straight.train()
    llama_trainer(tmp_path / "cut", {"pruning": KEPT}, load(folder), callbacks=[StopAt(stop)]).train()
    resumed = llama_trainer(tmp_path / "cut", {"pruning": KEPT}, load(folder))
    resumed.train(resume_from_checkpoint=True)
    assert_equal_bits(weights(straight.model), weights(resumed.model))
    resumed.finalize()


def test_two_of_four_stay_two_of_four(tmp_path, caplog):
    model = tiny_llama(seed=0)
    for layer in model.model.layers:
        weight = layer.mlp.up_proj.weight
        groups = weight.detach().abs().unflatten(1, (-1, 4))
        keep = groups >= groups.topk(2).values[..., 1:]
        independent.custom_from_mask(layer.mlp.up_proj, "weight", keep.flatten(1))
        independent.remove(layer.mlp.up_proj, "weight")
    trainer = llama_trainer(tmp_path, {"pruning": KEPT}, model, save_strategy="no")
    with caplog.at_level(logging.INFO):
        trainer.train()
    for layer in trainer.finalize().model.layers:
        assert bool(((layer.mlp.up_proj.weight.unflatten(1, (-1, 4)) != 0).sum(-1) == 2).all())
    assert "kept at zero: 1024 of 2048 weights of model.layers.0.mlp.up_proj (50.00 %, 2:4)" in caplog.text
    assert "kept at zero: 2048 of 18432 weights in 2 of 14 layers" in caplog.text


def test_lost_zeros_are_refused_with_their_layer_even_where_others_came(folder, tmp_path):
    trainer = llama_trainer(tmp_path, {"pruning": KEPT}, load(folder), save_strategy="no")
    trainer.train()
    with torch.no_grad():
        up = trainer.model.model.layers[0].mlp.up_proj.weight
        up[up == 0] = 1e-3
        trainer.model.model.layers[0].mlp.gate_proj.weight.zero_()  # as many zeros elsewhere
    with pytest.raises(
        CompressionError, match=r"^1024 weights of model\.layers\.0\.mlp\.up_proj that pruning holds at zero"
    ):
        trainer.finalize()


def test_lost_zeros_are_refused_of_a_finished_run_too(folder, tmp_path):
    from hf_compress.training.restore import restore_finished

    llama_trainer(tmp_path, {"pruning": KEPT}, load(folder)).train()
    later = llama_trainer(tmp_path, {"pruning": KEPT}, load(folder))
    restore_finished(later, tmp_path / "checkpoint-12")
    with torch.no_grad():
        later.model.model.layers[0].mlp.up_proj.weight.add_(1.0)
    with pytest.raises(CompressionError, match=r"the model has sparsity 0\.\d+ and not 0\.\d+: something wrote"):
        later.finalize()


def test_a_model_without_zeros_is_refused_before_the_first_step(tmp_path):
    trainer = llama_trainer(tmp_path, {"pruning": KEPT}, tiny_llama(seed=0))
    before = weights(trainer.model)
    with pytest.raises(CompressionError, match=r"from_zeros keeps the zeros of a pruned model, and none of the 14 layers"):
        trainer.train()
    assert_equal_bits(before, weights(trainer.model))


def test_layers_that_are_zero_throughout_train_and_are_named(folder, tmp_path, caplog):
    model = load(folder)
    torch.nn.init.zeros_(model.model.layers[1].mlp.gate_proj.weight)
    trainer = llama_trainer(tmp_path, {"pruning": KEPT}, model, save_strategy="no")
    trainer.train()
    assert "model.layers.1.mlp.gate_proj: zero throughout, which is taken as new and not as pruned" in caplog.text
    assert bool(trainer.model.model.layers[1].mlp.gate_proj.weight.any())


def test_zeros_out_of_reach_are_named_and_padding_is_none(folder, tmp_path, caplog):
    for pruned, warned in ((False, False), (True, True)):
        model = load(folder)
        with torch.no_grad():
            table = model.model.embed_tokens.weight
            table[0] = 0.0  # padding
            if pruned:
                table[5:, ::2] = 0.0
        caplog.clear()
        prune(model, KEPT)
        assert ("model.embed_tokens.weight (Embedding, 46.1 %)" in caplog.text) is warned


def halve(module):
    independent.l1_unstructured(module, "weight", amount=0.5)
    independent.remove(module, "weight")


def test_a_pruned_head_that_is_ignored_by_default_is_named_and_can_be_kept(caplog):
    model = tiny_llama(seed=0, tie_word_embeddings=False)
    halve(model.model.layers[0].mlp.up_proj)
    halve(model.lm_head)
    assert "lm_head" not in prune(model, KEPT)
    assert "lm_head.weight (Linear, 50.0 %); pruning.ignore names them by default; write ignore: []" in caplog.text
    caplog.clear()
    assert (
        int((~prune(model, Pruning(masks="from_zeros", ignore=()))["lm_head"]).sum()) == model.lm_head.weight.numel() // 2
    )
    prune(model, Pruning(masks="from_zeros", ignore=("lm_head",)))  # named by its owner
    assert "does not reach" not in caplog.text


def test_a_refusal_says_where_zeros_are():
    model = tiny_llama(seed=0, tie_word_embeddings=False)
    halve(model.lm_head)
    said = r"has any; there are some in lm_head.weight \(Linear, 50.0 %\) \(pruning.ignore names them by default"
    with pytest.raises(CompressionError, match=said):
        prune(model, KEPT)
    other = tiny_llama(seed=0)
    independent.l1_unstructured(other.model.layers[0].mlp.up_proj, "weight", amount=0.5)  # not removed
    with pytest.raises(CompressionError, match=r"has any; left out are model.layers.0.mlp.up_proj: .*computed"):
        prune(other, KEPT)


@pytest.mark.parametrize("kind", ["1 x 1", "3 x 1", "one input"])
def test_zeros_of_narrow_weights_count_like_others(kind, caplog):
    narrow = {"1 x 1": nn.Conv1d(16, 16, 1), "3 x 1": nn.Conv2d(16, 16, (3, 1)), "one input": nn.Linear(1, 64)}[kind]
    model = nn.Sequential(nn.Linear(16, 16), narrow)
    halve(model[0])
    halve(narrow)
    prune(model, Pruning(masks="from_zeros", targets=["0"]))
    assert f"1.weight ({type(narrow).__name__}, 50.0 %); add the class or the name to targets" in caplog.text


def test_a_recipe_for_a_model_without_zeros_leaves_nothing(tmp_path, capsys):
    start = tmp_path / "start"
    tiny_llama(seed=0).save_pretrained(start)
    tiny_tokenizer().save_pretrained(start)
    write_jsonl(tmp_path / "train.jsonl", written_rows())
    changes = {"model": str(start), "tokenizer": None, "dense": None, "pruning": {"masks": "from_zeros"}}
    given = recipe(tmp_path, {**changes, "distillation.teacher": {"name": "model", "model": str(start)}})
    before = tree(tmp_path)
    with pytest.raises(CompressionError, match=r"^pruning.masks: from_zeros keeps the zeros of a pruned model, and none"):
        Recipe.from_plain(given).run()
    assert tree(tmp_path) == before


def test_few_zeros_are_doubted(caplog):
    model = tiny_llama(seed=0)
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[0, 0] = 0.0
    masks = prune(model, KEPT)
    assert "only 1 of 18432 weights are zero and kept so; is it the pruned checkpoint?" in caplog.text
    assert sum(int((~mask).sum()) for mask in masks.values()) == 1


def test_a_recipe_keeps_them_and_says_so(folder, tmp_path):
    start = tmp_path / "start"
    load(folder).save_pretrained(start)
    tiny_tokenizer().save_pretrained(start)
    write_jsonl(tmp_path / "train.jsonl", written_rows())
    changes = {"model": str(start), "tokenizer": None, "dense": None, "pruning": {"masks": "from_zeros"}}
    result = Recipe.from_plain(
        recipe(tmp_path, {**changes, "distillation.teacher": {"name": "model", "model": str(start)}})
    ).run()
    zeros = assert_zero(dense_source(open_source(result.folder, "it")), folder)
    wanted = sum(int(zero.sum()) for zero in zeros.values()) / sum(zero.numel() for zero in zeros.values())
    assert result.report.rows[-1].sparsity == pytest.approx(wanted, abs=1e-6)
    card = (result.folder / "README.md").read_text(encoding="utf-8")
    assert f"- masks `from_zeros`: {ZEROS_KEPT}" in card and "kept the zeros of 14 of 15 Linear" in card
    assert "criterion `magnitude`" not in card


def test_from_zeros_leaves_nothing_to_choose():
    with pytest.raises(CompressionError, match=r"masks=from_zeros keeps the zeros .* so the criterion wanda has no say"):
        Pruning(masks="from_zeros", criterion=Wanda())
    with pytest.raises(CompressionError, match=r"Pruning\(masks=\.\.\.\): 'zeros' \(text\) given, one of"):
        Pruning(masks="zeros")
    assert Pruning(masks="from_zeros", criterion=Magnitude(), schedule=KEPT.schedule) == KEPT
    assert (KEPT.target, KEPT.final, KEPT.amount(5, 9)) == (None, 0.0, 0.0)


def test_a_dense_stage_before_it_is_refused(tmp_path):
    with pytest.raises(CompressionError, match=r"dense: trains the model without masks, and the zeros"):
        Recipe.from_plain(recipe(tmp_path, {"pruning": {"masks": "from_zeros"}}))
