"""Stored results of longer runs, each a JSON file with its provenance."""
