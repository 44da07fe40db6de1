"""Putting a network onto two chains, and finding it again."""
