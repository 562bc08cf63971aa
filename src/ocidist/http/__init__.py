"""Requests to registries: authentication, redirects, retries, limits and caps, on top of an httpx transport."""
