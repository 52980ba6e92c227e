"""kopf handlers: a decorator, a parse and one call each."""
