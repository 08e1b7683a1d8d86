"""A Prometheus exporter for asynchronous jobs of the Removit image API.

`setup(app, config)` puts it into an aiohttp application, whose jobs then are `app[JOBS]`;
`create_app(config)` makes one of its own, `load_config(path)` reads the config file. These names
stay; all other modules may change.
"""

from importlib.metadata import version

from .app import EXPORTER, create_app, setup
from .config import Config, ConfigError, load_config
from .core.job import Job, JobState
from .embedding import JOBS, ExporterStoppedError, Jobs, RegistrationError, UnknownJobError
from .registry.feed import HistoryGapError
from .registry.staging import RegistryFullError
from .service import Exporter
from .storage.store import StoredEvent, StoreError

__version__ = version("removit-exporter")

__all__ = [
    "EXPORTER",
    "JOBS",
    "Config",
    "ConfigError",
    "Exporter",
    "ExporterStoppedError",
    "HistoryGapError",
    "Job",
    "JobState",
    "Jobs",
    "RegistrationError",
    "RegistryFullError",
    "StoreError",
    "StoredEvent",
    "UnknownJobError",
    "__version__",
    "create_app",
    "load_config",
    "setup",
]
