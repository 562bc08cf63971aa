"""Frozen values that name and describe content: digests, references, descriptors, manifests. No I/O."""
