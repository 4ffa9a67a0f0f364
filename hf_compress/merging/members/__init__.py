"""What happens to an input before it is merged: names, vocabulary, heads."""
