"""Studies that were planned before they were run: a TOML file each, and the results of their runs."""
