"""Units of work on one process or many: workers, clusters, progress, forecasts."""
