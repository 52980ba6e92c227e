"""Import and export of the address book."""
