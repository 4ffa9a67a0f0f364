"""LoRA adapters: read, applied, merged, extracted and written."""
