"""The page about a run: inputs, tables, examples, and the template that holds them together."""
