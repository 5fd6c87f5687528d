"""A run folder with a small trained system in half precision: what `rrg demo` writes with."""
