"""What tests us: simulated devices with known faults. Imports `config` only, never the engine."""
