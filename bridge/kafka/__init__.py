"""Clouds that notify over Kafka."""
