"""The kinds of ensembles. Once this is imported, transformers' Auto classes and pipelines load them by their folder."""

import transformers
from transformers import AutoConfig

from hf_compress.ensembling.modelling.cascade import Cascade, CascadeConfig
from hf_compress.ensembling.modelling.config import EnsembleConfig
from hf_compress.ensembling.modelling.ctc import ParallelEnsembleForCTC
from hf_compress.ensembling.modelling.gating_ensemble import Gating, GatingConfig
from hf_compress.ensembling.modelling.heads import LISTS
from hf_compress.ensembling.modelling.language import ParallelEnsembleForCausalLM
from hf_compress.ensembling.modelling.parallel import ParallelConfig, ParallelEnsemble
from hf_compress.ensembling.modelling.processors import EnsembleTokenizer
from hf_compress.ensembling.modelling.question_answering import ParallelEnsembleForQuestionAnswering
from hf_compress.ensembling.modelling.residual_ensemble import ResidualConfig, ResidualEnsemble
from hf_compress.ensembling.modelling.seq2seq import ParallelEnsembleForSeq2SeqLM
from hf_compress.ensembling.modelling.several import EnsembleFeatureExtractor, EnsembleImageProcessor
from hf_compress.ensembling.modelling.speech import ParallelEnsembleForSpeechSeq2Seq
from hf_compress.ensembling.modelling.stacking_ensemble import Stacking, StackingConfig
from hf_compress.ensembling.modelling.union_language import UnionConfig, UnionEnsembleForCausalLM

__all__ = [
    "Cascade",
    "CascadeConfig",
    "EnsembleConfig",
    "GatingConfig",
    "Gating",
    "ParallelConfig",
    "ParallelEnsemble",
    "ParallelEnsembleForCTC",
    "ParallelEnsembleForCausalLM",
    "ParallelEnsembleForQuestionAnswering",
    "ParallelEnsembleForSeq2SeqLM",
    "ParallelEnsembleForSpeechSeq2Seq",
    "ResidualConfig",
    "ResidualEnsemble",
    "StackingConfig",
    "Stacking",
    "UnionConfig",
    "UnionEnsembleForCausalLM",
]

KINDS = (ParallelEnsemble, Cascade, Stacking, Gating, ResidualEnsemble)
"""One class for each kind; those for one head only are found through it."""

for _kind in (*KINDS, UnionEnsembleForCausalLM):
    _config = _kind.config_class
    AutoConfig.register(_config.model_type, _config, exist_ok=True)
    for _auto_class in _kind.for_heads or LISTS:
        getattr(transformers, _auto_class).register(_config, _kind.kind_for(_auto_class), exist_ok=True)
    transformers.AutoTokenizer.register(_config, tokenizer_class=EnsembleTokenizer, exist_ok=True)
    transformers.AutoImageProcessor.register(_config, slow_image_processor_class=EnsembleImageProcessor, exist_ok=True)
    transformers.AutoFeatureExtractor.register(_config, EnsembleFeatureExtractor, exist_ok=True)
