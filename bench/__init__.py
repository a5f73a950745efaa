"""Benchmarks: the same work on Trimaran and on its peers, interleaved in one run, as ratios."""
