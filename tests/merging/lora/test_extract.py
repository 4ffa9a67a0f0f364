"""The difference of two models as an adapter: a known one comes back, and what is lost is said."""

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import (
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    LlamaForCausalLM,
    RobertaForSequenceClassification,
)

from hf_compress._errors import CompressionError
from hf_compress.checkpoints.dequantized import dense_source
from hf_compress.checkpoints.source import open_source
from hf_compress.export.formats.compressed_tensors import save_compressed
from hf_compress.merging.lora.adapter import Adapter
from hf_compress.merging.lora.apply import apply_adapters
from hf_compress.merging.lora.extract import extract_lora
from hf_compress.merging.lora.source import AdaptedSource
from hf_compress.quantization.configuration import Quantization
from hf_compress.quantization.ptq import quantize
from hf_compress.quantization.scheme import Scheme
from tests import tiny
from tests.merging.adapters import logits_with, make_adapter, save
from tests.merging.lora.test_combine import changes
from tests.merging.zoo import make

CASES = {
    "llama": (tiny.tiny_llama, ["q_proj", "down_proj"], None),
    "gpt2": (tiny.tiny_gpt2, ["c_attn", "c_fc"], None),
    "vit": (tiny.tiny_vit, ["q_proj", "fc1"], None),
    "embedding": (tiny.tiny_llama, ["embed_tokens"], ["Embedding"]),
    "convolution": (tiny.tiny_vit, ["projection"], ["Conv2d"]),
}


@pytest.mark.parametrize("name", CASES)
def test_a_known_adapter_comes_back_to_rounding(name, tmp_path):
    build, adapted, targets = CASES[name]
    base = save(build(), tmp_path / "base")
    known = make_adapter(build(), tmp_path / "known", target_modules=adapted)
    apply_adapters(base, [known], tmp_path / "tuned")
    result = extract_lora(base, tmp_path / "tuned", tmp_path / "found", rank=4, targets=targets)
    wanted, got = changes(known), changes(tmp_path / "found")
    assert set(got) == set(wanted)
    for module, change in wanted.items():
        # tuned = base + change was rounded to fp32: half a unit in the last place of weights up to 1 is 6e-8.
        torch.testing.assert_close(got[module], change, rtol=1e-4, atol=1e-6)
    assert result.error < 1e-5
    assert not result.lost
    assert not result.whole


def tune(model, change, folder):
    with torch.no_grad():
        change(model)
    return save(model, folder)


def noise(model):
    generator = torch.Generator().manual_seed(7)
    for parameter in model.parameters():
        parameter += 0.02 * torch.randn(parameter.shape, generator=generator)


def test_error_is_measured_and_near_the_optimum(tmp_path):
    base = save(tiny.tiny_llama(hidden_size=64), tmp_path / "base")
    tuned = tune(tiny.tiny_llama(hidden_size=64), noise, tmp_path / "tuned")
    result = extract_lora(base, tuned, tmp_path / "out", rank=6, rest="report")
    got = changes(tmp_path / "out")
    before, after = open_source(base, "base"), open_source(tuned, "tuned")
    lost = total = 0.0
    for name, layer in result.layers.items():
        difference = (after.read(f"{name}.weight") - before.read(f"{name}.weight")).double()
        error = float((difference - got[name]).norm())
        best = float(torch.linalg.svdvals(difference)[6:].square().sum().sqrt())
        assert layer.error == pytest.approx(error / float(difference.norm()), rel=1e-5)
        assert best * (1 - 1e-6) <= error <= best * 1.02  # noise has no gap in its spectrum, the hardest case
        lost, total = lost + error**2, total + float(difference.square().sum())
    assert result.error == pytest.approx((lost / total) ** 0.5, rel=1e-5)
    assert "model.norm.weight" in result.lost
    assert "lm_head.weight" in result.lost
    square = sum(float((after.read(name) - before.read(name)).double().square().sum()) for name in result.lost)
    assert result.lost_norm == pytest.approx(square**0.5, rel=1e-5)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path):
    base = save(tiny.tiny_llama(), tmp_path / "base")
    tuned = tune(tiny.tiny_llama(), noise, tmp_path / "tuned")
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        extract_lora(base, tuned, tmp_path / name, rank=3, seed=seed)
    a, b, c = ((tmp_path / name / "adapter_model.safetensors").read_bytes() for name in "abc")
    assert a == b != c


@pytest.mark.parametrize("build", [tiny.tiny_llama, tiny.tiny_vit, tiny.tiny_bert], ids=["llama", "vit", "bert"])
def test_everything_else_travels_whole_and_peft_gives_the_tuned_model(build, tmp_path):
    base = save(build(), tmp_path / "base")
    tuned = tune(build(), noise, tmp_path / "tuned")
    result = extract_lora(base, tuned, tmp_path / "out", rank=32)  # full rank: nothing of the matrices is lost
    inputs = torch.arange(12).reshape(2, 6)
    if build is tiny.tiny_vit:
        inputs = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    model = type(build()).from_pretrained(tuned).eval()
    with torch.no_grad():
        wanted = model(inputs).logits
    if not result.lost:
        torch.testing.assert_close(logits_with(type(model), base, tmp_path / "out", inputs), wanted, rtol=1e-4, atol=1e-5)
    source = AdaptedSource(open_source(base, "base"), Adapter(tmp_path / "out"))
    after = open_source(tuned, "tuned")
    for name in source.infos:
        if name not in result.lost:
            torch.testing.assert_close(source.read(name), after.read(name), rtol=1e-4, atol=1e-5)
    assert result.error < 1e-5
    assert not result.lost


def test_a_tied_embedding_is_named_as_lost(tmp_path):
    base = save(tiny.tiny_gpt2(), tmp_path / "base")
    tuned = tune(tiny.tiny_gpt2(), noise, tmp_path / "tuned")
    result = extract_lora(base, tuned, tmp_path / "out", rank=8)
    assert list(result.lost) == ["transformer.wte.weight"]
    assert "transformer.ln_f.weight" in result.whole
    assert "NOT carried" in result.summary()
    tokens = torch.arange(12).reshape(2, 6)
    assert torch.isfinite(logits_with(type(tiny.tiny_gpt2()), base, tmp_path / "out", tokens)).all()


def test_a_head_that_is_tied_is_no_target_by_default(tmp_path):
    base, model = save(make("Whisper", 0), tmp_path / "base"), make("Whisper", 0)
    result = extract_lora(base, tune(model, noise, tmp_path / "tuned"), tmp_path / "out", rank=4)
    assert "proj_out" not in result.layers
    assert list(result.lost) == ["model.decoder.embed_tokens.weight"]


def test_what_only_the_base_has_is_named_as_lost(tmp_path):
    base = save(tiny.tiny_llama(num_hidden_layers=3, attention_bias=True), tmp_path / "base")
    tuned = tune(tiny.tiny_llama(tie_word_embeddings=True), noise, tmp_path / "tuned")
    result = extract_lora(base, tuned, tmp_path / "out", rank=4)
    own = {name for name in open_source(base, "base").infos if "layers.2." in name or name.endswith("bias")}
    assert set(result.lost) == own and set(result.lost.values()) == {"the tuned model has none"}
    saved = load_file(tmp_path / "out" / "adapter_model.safetensors")  # the tied head is its embedding
    assert torch.equal(saved["base_model.model.lm_head.weight"], saved["base_model.model.model.embed_tokens.weight"])


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")  # peft asks for it
@pytest.mark.parametrize(
    ("cls", "changed", "settings"),
    [
        (BertForSequenceClassification, "", {"ignore": ()}),
        (BertForSequenceClassification, "query", {}),
        (BertForSequenceClassification, "query", {"rest": "report"}),
        (BertForTokenClassification, "query", {}),
        (BertForQuestionAnswering, "", {"ignore": ()}),
        (RobertaForSequenceClassification, "", {}),
    ],
)
def test_peft_finds_the_head_it_looks_for_or_looks_for_none(cls, changed, settings, tmp_path):
    model = cls(cls.config_class.from_dict(tiny.tiny_bert().config.to_dict()))
    base = save(model, tmp_path / "base")
    start = {name: one.clone() for name, one in model.state_dict().items() if changed not in name}
    tune(model, noise, tmp_path / "noisy")
    model.load_state_dict(start, strict=False)
    tuned = save(model, tmp_path / "tuned")
    extract_lora(base, tuned, tmp_path / "out", rank=32, **settings)
    loaded = PeftModel.from_pretrained(cls.from_pretrained(base), tmp_path / "out").merge_and_unload().state_dict()
    # Without the biases, which rest="report" leaves out.
    for name, one in model.state_dict().items():
        if settings.get("rest") != "report" or "bias" not in name:
            torch.testing.assert_close(loaded[name], one, rtol=1e-4, atol=1e-5)


def test_a_quantized_model_is_read_as_the_numbers_it_computes_with(tmp_path):
    base = save(tiny.tiny_llama(), tmp_path / "base")
    model = tiny.tiny_llama()
    quantize(model, Quantization(scheme=Scheme.create("FP8_DYNAMIC")))
    save_compressed(model, tmp_path / "quantized")
    adapter = make_adapter(tiny.tiny_llama(), tmp_path / "adapter", target_modules=["q_proj"])
    name = "model.layers.0.self_attn.q_proj"
    unpacked = dense_source(open_source(tmp_path / "quantized", "quantized")).read(f"{name}.weight")
    apply_adapters(tmp_path / "quantized", [adapter], tmp_path / "out")
    got = open_source(tmp_path / "out", "out")
    assert "quantization_config" not in got.config
    torch.testing.assert_close(got.read(f"{name}.weight") - unpacked, changes(adapter)[name].float(), rtol=1e-4, atol=1e-6)
    extract_lora(base, tmp_path / "quantized", tmp_path / "found", rank=32)
    wanted = unpacked - open_source(base, "base").read(f"{name}.weight")
    torch.testing.assert_close(changes(tmp_path / "found")[name].float(), wanted, rtol=1e-3, atol=1e-6)


def test_energy_chooses_the_ranks(tmp_path):
    base = save(tiny.tiny_llama(), tmp_path / "base")
    tuned = tune(tiny.tiny_llama(), noise, tmp_path / "tuned")
    result = extract_lora(base, tuned, tmp_path / "out", energy=0.7, rest="report")
    before, after = open_source(base, "base"), open_source(tuned, "tuned")
    for name, layer in result.layers.items():
        assert layer.error <= 0.3**0.5 + 1e-6
        values = torch.linalg.svdvals((after.read(f"{name}.weight") - before.read(f"{name}.weight")).double()).square()
        assert layer.rank == int((values.cumsum(0) < 0.7 * values.sum()).sum()) + 1
    assert len({layer.rank for layer in result.layers.values()}) > 1


def test_what_cannot_be_extracted_is_refused(tmp_path):
    base = save(tiny.tiny_llama(), tmp_path / "base")
    out = tmp_path / "out"
    with pytest.raises(CompressionError, match="do not differ in any targeted layer"):
        extract_lora(base, base, out, rank=4)
    with pytest.raises(CompressionError, match="rank=65 is more than any targeted layer has; the highest possible is 32"):
        extract_lora(base, base, out, rank=65)
    with pytest.raises(CompressionError, match="neither rank nor energy"):
        extract_lora(base, base, out)
    wide = save(tiny.tiny_llama(intermediate_size=48), tmp_path / "wide")
    with pytest.raises(CompressionError, match=r"gate_proj.weight is \[64, 32\] in .*base and \[48, 32\] in .*wide"):
        extract_lora(base, wide, out, rank=4)
    with pytest.raises(CompressionError, match=r"base has no tensor for transformer.h.0.attn.c_attn.weight"):
        extract_lora(base, save(tiny.tiny_gpt2(), tmp_path / "gpt2"), out, rank=4)
    with pytest.raises(CompressionError, match="'Linearr' matches no module"):
        extract_lora(base, base, out, rank=4, targets=["Linearr"])
    broken = tiny.tiny_llama(seed=1)
    broken.model.norm.weight.data[0] = float("nan")
    with pytest.raises(CompressionError, match="model.norm.weight holds NaN or infinity in one of the models"):
        extract_lora(base, save(broken, tmp_path / "broken"), out, rank=4)
    assert not out.exists()
    assert LlamaForCausalLM.from_pretrained(base) is not None
