"""Compiled loops: arrays and scalars in, arrays out. No classes, no allocation inside a search node."""
