"""kopf handlers: a decorator, a parse and one call each: tenants, servers, restores, admission, startup."""

import kopf

# kopf's own default registry imports the `kubernetes` package for log-ins that are not used here (29 MiB).
REGISTRY = kopf.OperatorRegistry()
kopf.set_default_registry(REGISTRY)
