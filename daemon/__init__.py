"""What runs: transport, decoding, the engine's turn, publishing, metrics, command line."""
