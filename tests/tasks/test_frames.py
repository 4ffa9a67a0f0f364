"""How many frames a sound becomes, against the models themselves."""

import pytest
import torch
import transformers

from hf_compress import CompressionError
from hf_compress.tasks.frames import check_frames, num_frames
from tests.tasks.rows.test_frames import HEADS
from tests.tiny import tiny_listener


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("Wav2Vec2ForCTC", {}),
        ("Wav2Vec2ForCTC", {"add_adapter": True, "num_adapter_layers": 2, "output_hidden_size": 16}),
        ("HubertForCTC", {}),
        ("WavLMForCTC", {}),
        ("UniSpeechForCTC", {}),
    ],
)
def test_frames_are_those_of_the_model(name, changes):
    cls = getattr(transformers, name)
    config = cls.config_class(**HEADS[name], **changes)
    model = cls(config).eval()
    for num_samples in (100, 250, 401):
        with torch.no_grad():
            made = model(input_values=torch.randn(1, num_samples)).logits.shape[1]
        assert num_frames(num_samples, config) == made
    with torch.device("meta"):
        check_frames(cls(config), 400)


def test_what_is_no_sound_for_a_model_and_a_model_that_hears_features_are_refused():
    assert num_frames(3, tiny_listener().config) == 0
    with torch.device("meta"):
        listener = tiny_listener()
        with pytest.raises(CompressionError, match="Wav2Vec2ForCTC cannot hear 3 samples"):
            check_frames(listener, 3)
        parakeet = transformers.ParakeetForCTC(transformers.ParakeetCTCConfig(**HEADS["ParakeetForCTC"]))
        with pytest.raises(CompressionError, match="ParakeetForCTC hears input_features and not samples"):
            check_frames(parakeet, 400)
