"""Payloads to readings: one file per format."""
