"""The parts of a mergekit configuration: its YAML with lines, its methods, models and parameter settings."""
