"""What Docker's world had before OCI, and still has in places: Docker Hub's search, and Registry v1.

Nothing else in ocidist imports it. ``ocidist.legacy.hub`` searches; ``ocidist.legacy.v1`` speaks the dead protocol.
"""
