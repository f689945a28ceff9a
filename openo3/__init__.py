"""Grounded video reasoning: evidence grammar, rewards, metrics, media, models and benchmarks."""
