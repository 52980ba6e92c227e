"""Input meant to do harm, one file per noun.

CSRF: test_csrf. Another tenant by Host, cookie, token, id or path: test_tenants, test_every_route, test_ids.
Another user of one's own tenant by any id: test_ids.
What a permission does not open, at every route: test_permissions.
Scripts, headers, templates and formulas in every field: test_fields.
Links and images that want to be fetched, and templates that want to bring the server down: test_markup.
Paths: test_paths. Bombs: test_bombs. Large bodies: test_uploads. Odd characters: test_unicode.
Raw and made-up requests: test_requests, web/test_schemathesis.
"""
