"""Fields of addresses that the tenant defines."""
