"""The ready-made trainers."""

from transformers import Seq2SeqTrainer, Trainer

from hf_compress.training.mixin import CompressionMixin


class CompressionTrainer(CompressionMixin, Trainer):
    """`transformers.Trainer` with pruning, quantization-aware training and distillation."""


class CompressionSeq2SeqTrainer(CompressionMixin, Seq2SeqTrainer):
    """`transformers.Seq2SeqTrainer` with pruning, quantization-aware training and distillation."""
