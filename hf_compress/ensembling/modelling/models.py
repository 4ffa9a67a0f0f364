"""The kinds of ensembles. Once this is imported, transformers' Auto classes and pipelines load them by their folder."""

import transformers
from transformers import AutoConfig

from hf_compress.ensembling.modelling.config import EnsembleConfig
from hf_compress.ensembling.modelling.heads import LISTS
from hf_compress.ensembling.modelling.language import ParallelEnsembleForCausalLM
from hf_compress.ensembling.modelling.parallel import ParallelConfig, ParallelEnsemble
from hf_compress.ensembling.modelling.processors import (
    EnsembleFeatureExtractor,
    EnsembleImageProcessor,
    EnsembleTokenizer,
)

__all__ = ["EnsembleConfig", "ParallelConfig", "ParallelEnsemble", "ParallelEnsembleForCausalLM"]

KINDS = (ParallelEnsemble,)
"""One class for each kind; those for one head only are found through it."""

for _kind in KINDS:
    AutoConfig.register(_kind.config_class.model_type, _kind.config_class, exist_ok=True)
    for _auto_class in LISTS:
        getattr(transformers, _auto_class).register(_kind.config_class, _kind.kind_for(_auto_class), exist_ok=True)
transformers.AutoTokenizer.register(ParallelConfig, tokenizer_class=EnsembleTokenizer, exist_ok=True)
transformers.AutoImageProcessor.register(ParallelConfig, slow_image_processor_class=EnsembleImageProcessor, exist_ok=True)
transformers.AutoFeatureExtractor.register(ParallelConfig, EnsembleFeatureExtractor, exist_ok=True)
