"""All Kubernetes I/O of the operator: client, caches, write suppression, leadership, probes."""
