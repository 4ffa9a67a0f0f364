"""Where the tensors of a model lie: whole in this process, or in parts over several."""
