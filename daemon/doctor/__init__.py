"""What `sensorweir doctor` looks at: one file for each group of checks; none imports a compiler."""
