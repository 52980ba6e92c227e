"""Mails inside a page: the HTML part stands in a sandboxed frame and may neither run nor load anything from outside."""

from __future__ import annotations

from starlette.responses import HTMLResponse

from elink_app.web.middleware.headers import CONTENT_SECURITY_POLICY

# Mails carry their styles inline; nothing in the frame is of this site's origin, and scripts are off in a sandbox.
_FRAME_POLICY = "; ".join(
    (
        "sandbox",
        "default-src 'none'",
        "style-src 'unsafe-inline'",
        "img-src 'self'",
        "form-action 'none'",
        "base-uri 'none'",
        "frame-ancestors 'self'",
    )
)
# For the page around the frame.
PAGE_HEADERS = {"Content-Security-Policy": f"{CONTENT_SECURITY_POLICY}; frame-src 'self'"}


def frame(html: str | bytes | memoryview, status: int = 200) -> HTMLResponse:
    """The answer that a preview's frame shows."""
    return HTMLResponse(
        html, status, headers={"Content-Security-Policy": _FRAME_POLICY, "X-Frame-Options": "SAMEORIGIN"}
    )
