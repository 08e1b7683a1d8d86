"""The config: its sections, its reading with file and line, its reference; keys and tokens."""

from .config import Config
from .document import ConfigError
from .live import LiveConfig
from .loading import ConfigFile, load_config

__all__ = ["Config", "ConfigError", "ConfigFile", "LiveConfig", "load_config"]
