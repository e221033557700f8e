"""Simulated scenes and movies with their truth."""
