"""elink: the tenant application (address book and mail delivery), one image with the roles web, worker and migrate."""
