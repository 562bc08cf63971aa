"""Registries and repositories behind the distribution API."""
