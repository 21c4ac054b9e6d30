"""ASGI applications that know nothing of XMPP, and some that do."""
