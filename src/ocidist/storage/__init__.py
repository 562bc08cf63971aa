"""Stores: the role protocols that remote repositories, layouts and memory have in common, and the local ones."""
