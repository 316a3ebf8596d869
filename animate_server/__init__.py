"""The HTTP face: jobs, dialects, worker and command line."""

from importlib.metadata import version

__version__ = version("animate-server")
