"""Plays on real servers: what a person would see happen."""
