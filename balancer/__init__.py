"""A load balancer for XMPP components (XEP-0114)."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("xmpp-balancer")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0.0.0"
