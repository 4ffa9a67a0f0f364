"""Image processors of architectures."""

import pytest
import torch

from hf_compress._errors import CompressionError
from hf_compress.inputs.processors import load_image_processor
from hf_compress.inputs.sections import FreshModel
from tests.small import LLAMA
from tests.tiny import tiny_llama, tiny_vit


def test_the_image_processor_of_fresh_weights_makes_the_models_size():
    processor = load_image_processor(FreshModel(config={"model_type": "vit"}), tiny_vit().config)
    assert processor(torch.zeros(3, 20, 30), return_tensors="pt")["pixel_values"].shape == (1, 3, 8, 8)
    with pytest.raises(CompressionError, match="llama has no image processor"):
        load_image_processor(FreshModel(config=LLAMA), tiny_llama().config)
