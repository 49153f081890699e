"""Flat JSON objects in bulk: one kernel over a whole batch of payloads.

`feed` hands a batch over, `scan` is the kernel, `tokens` what it knows of JSON, `shapes` what is
remembered of the payloads of each topic. What the kernel is not sure of it leaves, message by
message, to the decoder in `daemon.decode.json`; what it reads is to the bit what that would give.
"""
