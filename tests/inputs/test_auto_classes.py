import transformers
from transformers import BertConfig, FunnelConfig, LlamaConfig

from hf_compress.inputs.auto_classes import classes_of


def test_an_architecture_has_one_class_several_or_none():
    assert classes_of(transformers.AutoModelForCausalLM, LlamaConfig()) == (transformers.LlamaForCausalLM,)
    several = (transformers.FunnelModel, transformers.FunnelBaseModel)
    assert classes_of(transformers.AutoModel, FunnelConfig()) == several
    assert classes_of(transformers.AutoModelForSpeechSeq2Seq, BertConfig()) == ()
