"""What `rrg bench` measured, one JSON file a machine."""
