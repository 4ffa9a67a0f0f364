"""A model's forward pass, tried before the work: small batches, passes without memory, a small twin of the model."""
