"""The daemon is killed again and again, and every event it should have told is looked for.

`python -m tests.kills --kills 20` runs it: a real broker that stays up (`tests.mosquitto`), a
publisher that sends a seeded workload (`workload`), the daemon killed at seeded moments
(`harness`), a subscriber that keeps everything.  Then `oracle` computes from the sent messages
alone what should have been told, in plain Python and without a line of `pipelines`, and `checker`
compares.
"""
