"""The HTTP door: validate, read, start, signal. It never sends a push."""
