"""Computing, in one process: a block, a cell again, a sample to verify, a latency."""
