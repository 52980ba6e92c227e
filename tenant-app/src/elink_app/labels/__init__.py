"""Tags, and the information labels among them."""
