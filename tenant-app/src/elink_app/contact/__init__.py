"""Where users ask for help."""
