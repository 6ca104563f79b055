"""Searches that end in proof, and second opinions."""
