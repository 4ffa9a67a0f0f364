"""Every row of the table of architectures with fewer channels: against the masked model, on disk, and what is refused."""

import functools
import json
import runpy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from hf_compress import CompressionError, ShrinkPlan, choose_parts, shrink
from hf_compress.architectures.architecture import Architecture
from hf_compress.pruning.shrink.choice import ShrinkChoice
from tests.alone import alone
from tests.architectures.small import EXPERTS, HEADS, HIDDEN, auto_class, small_batch, small_model
from tests.contracts.test_shrinking import chosen, half, logits, whole, zeroed

KEPT = HIDDEN // 2
REFUSED = {
    "gemma2": "embed_tokens computes with .*embed_scale = 5.65685, which would be 4 at the smaller hidden size",
    "gemma3": "embed_tokens computes with .*embed_scale",
    "gemma3_text": "embed_tokens computes with .*embed_scale",
    "t5": "with scale_decoder_outputs T5Config's models compute with the hidden size itself",
    "wav2vec2": "pos_conv_embed.*and cutting gives",
    "hubert": "pos_conv_embed.*and cutting gives",
}
SETTINGS = {"t5": {"scale_decoder_outputs": False}}
"""With which a row that is refused otherwise can be left with fewer channels."""
ROOT = Path(__file__).parents[2]
ALL = [known() for known in Architecture.available().values()]
ROWS = [row for row in ALL if row.name in SETTINGS or row.name not in REFUSED]
each = pytest.mark.parametrize("architecture", ROWS, ids=lambda row: row.name)


@functools.cache
def narrow(architecture):
    """A model, what is chosen to stay of it and what remains: half of everything, channels of the hidden states too."""
    model = small_model(architecture, **SETTINGS.get(architecture.name, {}))
    if any(found.stack.experts for found in architecture.found(model)):
        choice = choose_parts(model, replace(halved(), experts=EXPERTS // 2), [small_batch(model)])
    else:
        choice = choose_parts(model, halved())
    return model, choice, shrink(model, choice)


def smallest(architecture):
    """The same; with all channels where they cannot go."""
    if architecture.name in REFUSED:
        return whole(architecture), chosen(architecture), half(architecture)
    return narrow(architecture)


def halved():
    """Of everything, whichever channels, heads and units."""
    return ShrinkPlan(hidden=KEPT, heads=HEADS // 2, feed_forward=0.5, layers=[1, 2])


def masked(model, architecture, choice):
    """The reference: zeros where heads go, and every norm of the hidden states looks at the channels that stay alone and
    gives zeros in the others, which nothing else reads.
    """
    model = zeroed(model, architecture, choice)
    channels = torch.tensor(choice.kept.channels)

    def hook(norm, args, output):
        seen, weight = args[0][..., channels], norm.weight[channels]
        if isinstance(norm, torch.nn.LayerNorm):
            found = functional.layer_norm(seen, (len(channels),), weight, norm.bias[channels], norm.eps)
        else:
            found = weight * seen / (seen.square().mean(-1, keepdim=True) + norm.variance_epsilon).sqrt()
        return torch.zeros_like(output).index_copy_(-1, channels, found)

    for module in model.modules():
        if type(module).__name__.endswith("Norm") and module.weight.shape == (HIDDEN,):
            module.register_forward_hook(hook)
    gone = [place for place in range(HIDDEN) if place not in choice.kept.channels]
    for name, module in model.named_modules():
        if name.endswith("conv1"):  # Whisper's second convolution reads what the first one gives, as wide as the stream
            module.weight.data[gone], module.bias.data[gone] = 0, 0
    return model


@each
def test_it_computes_what_the_model_does_whose_norms_look_at_the_channels_that_stay(architecture, tmp_path):
    model, choice, small = narrow(architecture)
    batch = small_batch(model)
    reference, plain = logits(masked(model, architecture, choice), batch), logits(model, batch)
    torch.testing.assert_close(logits(small, batch), reference, atol=1e-5, rtol=1e-5)  # sums in another order
    assert (reference - plain).abs().max() > 1e-2
    key = architecture.hidden[0]
    assert getattr(architecture.counts(small.config), key) == KEPT and len(choice.kept.channels) == KEPT
    assert choice.after.parameters == sum(parameter.numel() for parameter in small.parameters()) < choice.before.parameters
    assert f"{KEPT} of {HIDDEN} channels of the hidden states go (channel " in choice.describe()
    small.save_pretrained(tmp_path)
    loaded, info = auto_class(model.config).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    assert torch.equal(logits(loaded.eval(), batch), logits(small, batch))


@pytest.mark.parametrize("name", REFUSED)
def test_a_model_that_computes_with_its_width_is_refused(name):
    architecture = Architecture.available()[name]()
    model = small_model(architecture)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(CompressionError, match=REFUSED[name]):
        choose_parts(model, halved())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_all_parts_go_at_once():
    architecture = Architecture.available()["qwen3"]()
    model, _, _ = narrow(architecture)
    batch = small_batch(model)
    choice = choose_parts(model, ShrinkPlan(hidden=24, heads=2, feed_forward=7, layers=2), [batch])
    assert len(choice.kept.stacks[0].layers) == 2
    reference = logits(masked(model, architecture, choice), batch)
    torch.testing.assert_close(logits(shrink(model, choice), batch), reference, atol=1e-5, rtol=1e-5)
    assert ShrinkChoice.from_plain(json.loads(json.dumps(choice.to_plain()))) == choice


def test_transformers_alone_loads_and_runs_them(tmp_path):
    for row in ALL:
        model, _, small = smallest(row)
        folder = tmp_path / "models" / row.name
        small.save_pretrained(folder)
        batch, auto = small_batch(model), auto_class(model.config).__name__
        torch.save(
            [auto, type(model).__name__, batch, logits(small, batch)], tmp_path / "models" / row.name / "expected.pt"
        )
    code = """
import sys, pathlib, torch, transformers
folders = sorted(pathlib.Path(sys.argv[1]).iterdir())
for folder in folders:
    auto, cls, batch, expected = torch.load(folder / "expected.pt")
    model = getattr(transformers, auto).from_pretrained(folder).eval()
    assert type(model).__name__ == cls
    with torch.no_grad():
        assert torch.equal(model(**batch).logits, expected), folder
assert "hf_compress" not in sys.modules
print("loaded", len(folders))
"""
    assert f"loaded {len(ALL)}\n" in alone(tmp_path, code, tmp_path / "models")


def test_the_table_of_the_page_is_what_was_chosen_here():
    page = ROOT / "docs" / "shrinking.md"
    written = runpy.run_path(str(ROOT / "scripts" / "shrinking_table.py"))["written"]
    text = page.read_text(encoding="utf-8")
    assert text == written(text, {row.name: smallest(row)[1] for row in ALL}), "run scripts/shrinking_table.py"
