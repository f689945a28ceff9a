"""Supervised fine-tuning and reinforcement learning: records and frames -> batches -> TRL's trainers."""
