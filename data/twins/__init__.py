"""Results of runs that were made again with the same seed, on the device and the attempt that the file's name ends
with."""
