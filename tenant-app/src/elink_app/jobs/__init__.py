"""Long work in the background: rows that a worker leases, batch by batch, and takes up again after a crash."""
