"""The publisher: events in, messages to an output out."""
