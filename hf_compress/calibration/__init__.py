"""Calibration: statistics of a model on data, for criteria, solvers and merge methods."""
