"""What the user wrote: YAML files read into checked models, with a place for every problem.

Imports nothing of ours; the only home of `yaml`; knows no numpy, no MQTT connection.
"""
