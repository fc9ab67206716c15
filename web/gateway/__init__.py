"""The Message Router's REST API in front of Kafka."""
