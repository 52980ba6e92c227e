"""NetworkPolicy agent of the native test cluster: Kubernetes NetworkPolicies rendered to one nftables table.

It belongs to the native cluster only. The standard library is all it needs.
"""
