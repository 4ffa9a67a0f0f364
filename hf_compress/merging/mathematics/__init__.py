"""The mathematics that merge methods share."""
