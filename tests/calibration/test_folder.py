from pathlib import Path

import pytest
import torch
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

from hf_compress._errors import CompressionError
from hf_compress.calibration.collect import collect, collect_fisher, collect_gram
from hf_compress.calibration.folder import save_statistics
from hf_compress.calibration.statistic import Statistic
from hf_compress.checkpoints.source import open_source
from hf_compress.merging.engine.in_memory import merge_state_dicts
from hf_compress.merging.methods.regmean import RegMean
from tests.tiny import tiny_gpt2, tiny_llama, tiny_vit


def tiny_moe():
    config = Qwen3MoeConfig(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=32,
        moe_intermediate_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        num_experts=4,
        num_experts_per_tok=2,
    )
    return Qwen3MoeForCausalLM(config)


def batch_of(model):
    generator = torch.Generator().manual_seed(0)
    if model.config.model_type == "vit":
        return {"pixel_values": torch.randn(2, 3, 8, 8, generator=generator), "labels": torch.tensor([0, 2])}
    ids = torch.randint(3, 60, (2, 6), generator=generator)
    return {"input_ids": ids, "labels": ids}


MODELS = {
    "vit": tiny_vit,
    "llama": tiny_llama,
    "tied": lambda: tiny_llama(tie_word_embeddings=True),
    "moe": tiny_moe,
    "gpt2": tiny_gpt2,
}


def saved(model, tmp_path):
    """The checkpoint and its statistics, opened like the engine does."""
    batch = batch_of(model)
    fisher, gram = collect_fisher(model, [batch], labels="true"), collect_gram(model, [batch])
    folders = save_statistics(model, tmp_path / "statistics", fisher=fisher, gram=gram)
    model.save_pretrained(tmp_path / "model")
    opened = {name: open_source(Path(folder), name) for name, folder in folders.items()}
    return open_source(tmp_path / "model", "model"), opened, fisher, gram


@pytest.mark.parametrize("build", MODELS.values(), ids=MODELS)
def test_a_fisher_has_the_names_and_shapes_of_the_checkpoint(build, tmp_path):
    model = build()
    before = {name: one.clone() for name, one in model.named_parameters()}
    checkpoint, opened, fisher, _ = saved(model, tmp_path)
    infos = opened["fisher"].infos
    assert {name: info.shape for name, info in infos.items()} == {n: i.shape for n, i in checkpoint.infos.items()}
    total = sum(float(opened["fisher"].read(name).sum()) for name in infos)
    assert total == pytest.approx(sum(float(one.sum()) for one in fisher.values()), rel=1e-5)
    assert all(torch.equal(one, before[name]) for name, one in model.named_parameters())


@pytest.mark.parametrize("build", MODELS.values(), ids=MODELS)
def test_a_fisher_loads_back_into_the_place_of_its_parameters(build, tmp_path):
    model = build()
    _, opened, fisher, _ = saved(model, tmp_path)
    tensors = {name: opened["fisher"].read(name).clone() for name in opened["fisher"].infos}
    loaded = type(model).from_pretrained(None, config=model.config, state_dict=tensors)
    for name, parameter in loaded.named_parameters():
        assert torch.equal(parameter, fisher[name]), name


@pytest.mark.parametrize("build", MODELS.values(), ids=MODELS)
def test_a_gram_matrix_lies_beside_the_weight_whose_inputs_it_has(build, tmp_path):
    model = build()
    checkpoint, opened, _, gram = saved(model, tmp_path)
    placed = opened["gram"]
    assert len(placed.infos) == len(gram)
    weights = {name: one.detach() for name, one in model.named_parameters()}
    for name in placed.infos:
        stored, matrix = checkpoint.read(name), placed.read(name)
        owner = next(key for key, one in weights.items() if one.shape == stored.shape and torch.equal(one, stored))
        assert torch.equal(matrix.reshape(gram[owner].shape), gram[owner])
        conv1d = model.config.model_type == "gpt2"
        assert matrix.shape[0] == stored.shape[0 if conv1d else 1] and matrix.dim() == (3 if conv1d else 2)


@pytest.mark.parametrize("name", ["vit", "gpt2", "llama"])
def test_every_statistic_lies_beside_the_weight_it_belongs_to(name, tmp_path):
    model = MODELS[name]()
    modules = ["Conv1D"] if name == "gpt2" else ["Linear", *(["Conv2d"] if name == "vit" else [])]
    found = collect(model, [batch_of(model)], list(Statistic.available()), modules=modules)
    folders = save_statistics(model, tmp_path / "statistics", **found)
    model.save_pretrained(tmp_path / "model")
    checkpoint = open_source(tmp_path / "model", "model")
    weights = {key: one.detach() for key, one in model.named_parameters()}
    assert set(folders) == set(Statistic.available())
    for statistic, folder in folders.items():
        placed = open_source(Path(folder), statistic)
        assert len(placed.infos) == len(found[statistic]) > 0
        for key in placed.infos:
            stored, value = checkpoint.read(key), placed.read(key)
            owner = next(own for own, one in weights.items() if one.shape == stored.shape and torch.equal(one, stored))
            assert torch.equal(value.reshape(found[statistic][owner].shape), found[statistic][owner])
            if Statistic.available()[statistic].shape != "(O, I)":
                inputs = stored.shape[0] if name == "gpt2" else stored.flatten(1).shape[1]
                shape = [inputs] * (2 if Statistic.available()[statistic].shape == "(I, I)" else 1)
                assert list(value.shape) == [*shape, *([1] if name == "gpt2" else [])]


@pytest.mark.parametrize("name", ["vit", "gpt2", "moe"])
def test_checkpoints_merge_with_their_saved_grams_like_models_in_memory(name, tmp_path):
    models, sources, folders, grams = [], {}, [], []
    for number in range(2):
        torch.manual_seed(number)
        model = MODELS[name]() if name == "moe" else MODELS[name](seed=number)
        batch = batch_of(model)
        models.append(model)
        grams.append(collect_gram(model, [batch]))
        written = save_statistics(model, tmp_path / f"s{number}", gram=grams[-1])
        folders.append(open_source(Path(written["gram"]), "gram"))
        model.save_pretrained(tmp_path / f"m{number}")
        sources[str(number)] = open_source(tmp_path / f"m{number}", str(number))
    merged = merge_state_dicts(RegMean(), sources, statistics={"gram": folders})
    loaded = type(models[0]).from_pretrained(None, config=models[0].config, state_dict=merged)
    for key in grams[0]:
        conv1d = name == "gpt2"
        weights = [model.get_parameter(key).detach().double() for model in models]
        rows = [weight if conv1d else weight.T for weight in weights]
        scaled = [0.9 * gram[key].double() + 0.1 * torch.diag(gram[key].double().diag()) for gram in grams]
        wanted = torch.linalg.solve(sum(scaled), sum(g @ w for g, w in zip(scaled, rows, strict=True)))
        # fp32 storage of the result; the scaled matrices have condition numbers of 1e3 at most.
        torch.testing.assert_close(
            loaded.get_parameter(key).detach(), (wanted if conv1d else wanted.T).float(), atol=1e-4, rtol=1e-4
        )


def test_vit_gets_the_names_on_disk(tmp_path):
    _, opened, _, _ = saved(tiny_vit(), tmp_path)
    assert "vit.encoder.layer.0.attention.attention.query.weight" in opened["gram"].infos


def test_experts_that_are_joined_in_memory_get_a_fisher_each(tmp_path):
    _, opened, fisher, _ = saved(tiny_moe(), tmp_path)
    packed = fisher["model.layers.1.mlp.experts.gate_up_proj"]
    stored = opened["fisher"].read("model.layers.1.mlp.experts.2.up_proj.weight")
    assert torch.equal(stored, packed[2, 8:])


def test_a_name_of_another_model_and_nothing_at_all_are_refused(tmp_path):
    with pytest.raises(CompressionError, match="fisher: LlamaForCausalLM has no parameter head"):
        save_statistics(tiny_llama(), tmp_path, fisher={"head": torch.ones(2)})
    with pytest.raises(CompressionError, match=r"no statistic is given \(known: fisher, gradient, "):
        save_statistics(tiny_llama(), tmp_path)
    with pytest.raises(CompressionError, match="unknown statistic 'hessian'"):
        save_statistics(tiny_llama(), tmp_path, hessian={"model.norm.weight": torch.ones(32)})


def test_statistics_replace_those_that_are_there(tmp_path):
    model = tiny_llama()
    name = "model.norm.weight"
    for value in (1.0, 2.0):
        folders = save_statistics(model, tmp_path, fisher={name: torch.full((32,), value)})
    assert float(open_source(Path(folders["fisher"]), "f").read(name)[0]) == 2.0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fisher"]


def test_a_link_where_statistics_are_replaced_is_refused_and_what_it_points_to_stays(tmp_path):
    mine = tmp_path / "mine" / "thesis"
    mine.parent.mkdir()
    mine.write_text("")
    (tmp_path / "fisher").symlink_to(mine.parent)
    with pytest.raises(CompressionError, match="fisher is a symbolic link to"):
        save_statistics(tiny_llama(), tmp_path, fisher={"model.norm.weight": torch.ones(32)})
    assert mine.exists() and sorted(path.name for path in tmp_path.iterdir()) == ["fisher", "mine"]
