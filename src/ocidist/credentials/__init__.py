"""Who asks: credentials and where they are found."""
