"""How certificates of others are judged: by everyone in the same way, whatever Python the image has."""

import ssl


def check_authority(pem: str) -> None:
    """Raise OSError (ssl.SSLError) or ValueError for a text that is no certificate authority.

    Not by `create_default_context`: that takes an empty text for the public authorities.
    """
    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem)


def client_context(*, pem: str | None = None, file: str | None = None) -> ssl.SSLContext:
    """A context that checks certificate and host name. Raises OSError (ssl.SSLError) or ValueError for no authority.

    Authorities: those in the text or the file, else the public ones. Python 3.13 also demands extensions of RFC 5280
    (key identifiers) that certificates made by hand often lack; kubectl, libpq, restic and mail servers do not.
    """
    context = ssl.create_default_context(cadata=pem, cafile=file)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context
