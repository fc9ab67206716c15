"""What the bridge, the stream workers and the web views share."""
