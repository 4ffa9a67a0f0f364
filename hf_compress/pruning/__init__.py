"""Pruning: which weights become zero (criterion, pattern), how many where (allocation) and when (schedule)."""
