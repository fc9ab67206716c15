"""Forms in which others tell samples of meters, each read as samples of our own, by subject."""
