"""Connections to Kafka, and the topics of the job."""
