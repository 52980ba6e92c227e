"""Forms that make something, each of which makes it once however often it is sent."""
