"""`python -m daemon` is `sensorweir`."""

from daemon.cli import main

main()
