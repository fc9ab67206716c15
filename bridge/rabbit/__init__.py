"""Clouds that notify over RabbitMQ."""
