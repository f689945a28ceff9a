"""Benchmarks, each in one file.

base        what a benchmark is: an object that holds its file, questions, scores and tables
registry    every benchmark by its name
NAME        the benchmark of that name
choices     what benchmarks with options share
grounding   what benchmarks that ask for a span share, and tubes: a span and boxes
judges      rating answers in words
conditions  the ways to ask: plainly, in the evidence grammar, sampled, blind
asking      asking a model all questions of a benchmark
voting      asking for several answers to one question, ballots: which of them wins
"""
