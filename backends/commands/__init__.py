"""Commands by chat: subclass `Daemon` and write methods, or decorate functions."""

from backends.commands.daemon import Daemon
from backends.commands.files import File
from backends.commands.parameters import CommandError

__all__ = ["CommandError", "Daemon", "File"]
