"""The output to a webhook: CloudEvents in HTTP requests, signed, to a receiver that agreed."""
