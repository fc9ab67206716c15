"""The stream worker: notifications in, events and the instances table out."""
