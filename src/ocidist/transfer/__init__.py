"""Copying between stores of any kind, and mirroring many of them."""
