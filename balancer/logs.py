"""How the log looks: a line for a person or a JSON object for a collector, on standard error."""

from __future__ import annotations

import logging
import sys

import structlog

from balancer.config import LogConfig


def configure(config: LogConfig) -> None:
    """Set up structlog for the whole process."""
    renderer: structlog.typing.Processor = structlog.processors.JSONRenderer()
    if config.format == "console":
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[config.level.upper()]
        ),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
