"""What tests talk to: real registries and tools, scripted servers, and sample content.

Nothing here imports ocidist at import time, so that a broken package still lets its tests be collected one by one.
"""
