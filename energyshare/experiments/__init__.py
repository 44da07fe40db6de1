"""The experiments of the paper, run for real."""
