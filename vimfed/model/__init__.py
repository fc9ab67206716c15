"""What is written to Kafka and read from it. Pure."""
