"""The page at `/`: drop a clip, ask, watch the evidence while the answer is written."""
