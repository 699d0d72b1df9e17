"""Measure engines beside each other: a process for each, in turn, on the same texts."""
