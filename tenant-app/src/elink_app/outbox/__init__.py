"""Single mails of the service itself (invitations, notices, test mails): written with the work, sent by the worker."""
