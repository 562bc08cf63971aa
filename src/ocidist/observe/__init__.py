"""What a client tells about its work: frozen event records, hooks and logging."""
