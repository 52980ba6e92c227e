"""The manual inside the service."""
