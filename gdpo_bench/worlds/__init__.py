"""Designed worlds and a tabular policy on them: thousands of runs where a language model allows a few.

`gdpo-bench simulate` is the command; docs/worlds.md says what it is for.
"""
