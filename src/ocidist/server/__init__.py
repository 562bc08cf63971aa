"""The embedded registry: an ASGI application that serves any store."""
