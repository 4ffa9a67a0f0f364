"""What the configs of the inputs say about the result."""

from hf_compress.checkpoints.source import Source
from hf_compress.merging.members.agreement import check_model_types


def _source(label, **text):
    source = Source()
    source.label = source.place = label
    source.config = {"model_type": "llava", "text_config": {"hidden_size": 8, **text}}
    return source


def test_what_nested_configs_disagree_about_is_named_field_by_field(caplog):
    check_model_types([_source("a", vocab_size=7, rope_theta=1e4), _source("b", vocab_size=8, rope_theta=1e6)])
    assert caplog.messages == [
        "a and b disagree about text_config.rope_theta (10000.0, 1000000.0); the result has the former's"
    ]
    caplog.clear()
    check_model_types([_source("a", vocab_size=7), _source("b", vocab_size=8)])
    assert not caplog.messages
