"""Every row of the table of architectures with fewer channels: against the masked model, on disk, and what is refused."""

import json

import pytest
import torch
from torch.nn import functional

from hf_compress import CompressionError, ShrinkPlan, choose_parts, shrink
from hf_compress.architectures.architecture import Architecture
from hf_compress.pruning.shrink.choice import ShrinkChoice
from tests.architectures.small import HEADS, HIDDEN, auto_class, small_batch, small_model
from tests.contracts.test_shrinking import logits, zeroed

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
ROWS = [known() for name, known in Architecture.available().items() if name in SETTINGS or name not in REFUSED]
each = pytest.mark.parametrize("architecture", ROWS, ids=lambda row: row.name)


def narrow_model(architecture):
    return small_model(architecture, **SETTINGS.get(architecture.name, {}))


def halved(architecture, model, **more):
    """Half of the channels; where the class computes a head's size from the width, half of the heads too."""
    stack = architecture.stacks(architecture.counts(model.config))[0]
    return ShrinkPlan(hidden=KEPT, **({} if stack.attention.head_size else {"heads": HEADS // 2}), **more)


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
    model = narrow_model(architecture)
    batch = small_batch(model)
    choice = choose_parts(model, halved(architecture, model, feed_forward=0.5))
    small = shrink(model, choice)
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
        choose_parts(model, halved(architecture, model))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_all_parts_go_at_once():
    architecture = Architecture.available()["qwen3"]()
    model = narrow_model(architecture)
    batch = small_batch(model)
    choice = choose_parts(model, ShrinkPlan(hidden=24, heads=2, feed_forward=7, layers=2), [batch])
    assert len(choice.kept.stacks[0].layers) == 2
    reference = logits(masked(model, architecture, choice), batch)
    torch.testing.assert_close(logits(shrink(model, choice), batch), reference, atol=1e-5, rtol=1e-5)
    assert ShrinkChoice.from_plain(json.loads(json.dumps(choice.to_plain()))) == choice
