"""README.md beside published weights: front matter and sections, by the kind of the manifest."""
