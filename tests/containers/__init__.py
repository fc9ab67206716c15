"""docker-compose.yml and the image in a real engine: `make containers`."""
