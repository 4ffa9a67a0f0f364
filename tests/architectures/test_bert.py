"""BERT's row, which is RoBERTa's."""

from hf_compress.architectures.bert import Bert, Roberta


def test_robertas_parts_are_where_berts_are():
    assert (Roberta.blocks, Roberta.attention, Roberta.feed_forward) == (Bert.blocks, Bert.attention, Bert.feed_forward)
    assert (
        Roberta().norm_readers(None) == Bert().norm_readers(None) == {"attention.output.LayerNorm": ("intermediate.dense",)}
    )
