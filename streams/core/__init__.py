"""What notifications mean for an instance. Pure: no clock, no I/O."""
