"""Users of the tenant: who they are, how they are invited, what is noted about them."""
