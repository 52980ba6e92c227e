"""Backup of one tenant into its own folder, and erasure of exactly one tenant's folders. Standard library only."""
