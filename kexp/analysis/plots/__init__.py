"""Pictures of an analysis, one family per file: every function returns a matplotlib `Figure`."""
