"""Who did what: a hash-chained log of the tenant, in the tenant's own database."""
