"""One file per family of schemes; see docs/quantization.md for how to add one."""
