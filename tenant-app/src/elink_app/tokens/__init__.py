"""API tokens: secrets for programs, each with a part of its owner's permissions."""
