"""What is configured for each registry host."""
