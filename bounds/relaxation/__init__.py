"""Relaxations: each finds a good certificate `(D, y)`; none has to be trusted."""
