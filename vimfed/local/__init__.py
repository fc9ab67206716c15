"""Everything on one machine: brokers and processes as children."""
