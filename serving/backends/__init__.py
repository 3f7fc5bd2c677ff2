"""Backends: each knows how to run the artifacts of one kind of format."""
