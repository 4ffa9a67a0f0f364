"""DistilBERT's row."""

from hf_compress.architectures.architecture import architecture_of
from hf_compress.architectures.distilbert import DistilBert
from tests.architectures.small import small_model


def test_the_blocks_of_a_head_for_masked_tokens_are_behind_its_base_model():
    model = small_model(DistilBert())
    assert architecture_of(model).found(model)[0].prefix == "distilbert.transformer.layer"
