"""Quantization: schemes, quantization-aware training (QAT) and post-training quantization (PTQ)."""
