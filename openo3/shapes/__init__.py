"""The shapes world: a small, exact universe on which the whole pipeline really learns."""
