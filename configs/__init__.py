"""One schema for every run, and the error that users see."""

from configs.errors import ConfigurationError, NesyprError
from configs.schema import RunConfig

__all__ = ["ConfigurationError", "NesyprError", "RunConfig"]
