"""BERT's row, which is RoBERTa's."""

from hf_compress.architectures.bert import Bert, Roberta


def test_robertas_parts_are_where_berts_are_and_the_attentions_norm_feeds_the_feed_forward_part():
    assert Roberta().stacks(None) == Bert().stacks(None)
    assert Bert().stacks(None)[0].norm_readers == {"attention.output.LayerNorm": ("intermediate.dense",)}
