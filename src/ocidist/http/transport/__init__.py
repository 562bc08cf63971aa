"""Connections: how a host is reached, and with which TLS settings."""
