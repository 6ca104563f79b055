"""Certificate files: what goes in, and how anyone rechecks it without a solver."""
