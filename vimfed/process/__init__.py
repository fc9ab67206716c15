"""What every process of the job shares: log, metrics, ports."""
