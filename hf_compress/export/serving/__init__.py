"""Whether vLLM will take a folder, from its rules, without vLLM and without a GPU."""
