"""Kubernetes operator for elink: places tenants on servers, keeps them as declared, erases them provably."""

__version__ = "0.1.0"
