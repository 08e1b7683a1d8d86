"""A Prometheus exporter for asynchronous jobs of the Removit image API.

`setup(app, config)` puts it into an aiohttp application, `create_app(config)` makes one of its
own, `load_config(path)` reads the config file. What they return can be used as it is documented in
the README; all other modules may change.
"""

from importlib.metadata import version

from .app import EXPORTER, create_app, setup
from .config import Config
from .config_file import ConfigError
from .config_loading import load_config
from .service import Exporter

__version__ = version("removit-exporter")

__all__ = [
    "EXPORTER",
    "Config",
    "ConfigError",
    "Exporter",
    "__version__",
    "create_app",
    "load_config",
    "setup",
]
