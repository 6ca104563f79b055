"""Measurements, side by side with the peer in the same process: `python -m benchmarks [name …]`."""
