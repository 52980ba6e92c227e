"""Every version that the cluster is made of, in one place."""

from __future__ import annotations

KUBERNETES = "1.35.4"
ETCD = "3.6.5"
COREDNS = "1.14.6"
KIND = "0.33.0"
MAILPIT = "1.27.11"
METRICS_SERVER = "0.9.0"
LOCAL_PATH = "0.0.30"
GATEWAY_API = "1.6.1"
TRAEFIK = "3.7.15"
VERSITYGW = "1.8.0"
RESTIC = "0.18.0"
KUBECTL_LAYER = "2.2.2"
DEBIAN = "trixie"
