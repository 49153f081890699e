"""What survives a power cut: the log, and the few operations on a disk that it needs."""
