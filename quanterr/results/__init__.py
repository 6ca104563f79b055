"""What a run found: records, verdicts, spreads, tables."""
