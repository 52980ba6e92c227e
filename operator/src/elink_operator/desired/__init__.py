"""What should exist in the cluster: pure functions from parsed resources to manifests, one file per object kind."""
