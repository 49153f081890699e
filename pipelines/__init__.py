"""What is computed: batches, windows, operators, alerts and the events that come of them.

May import `config`; the only home of `numba`; knows no MQTT, thread or wall clock, and no file but
those of its compiled kernels.
"""
