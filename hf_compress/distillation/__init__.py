"""Distillation: a teacher gives a signal, losses compare, the objective adds the task."""
