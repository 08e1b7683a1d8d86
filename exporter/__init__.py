"""A Prometheus exporter for asynchronous jobs of the Removit image API.

`setup(app, config)` puts it into an aiohttp application, whose jobs then are `app[JOBS]`;
`create_app(config)` makes one of its own, `load_config(path)` reads the config file. These names
stay; all other modules may change.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .app import EXPORTER, create_app, setup
    from .config import Config, ConfigError, load_config
    from .core.job import Job, JobState
    from .embedding import JOBS, ExporterStoppedError, Jobs, RegistrationError, UnknownJobError
    from .registry.feed import HistoryGapError
    from .registry.staging import RegistryFullError
    from .service import Exporter
    from .storage.store import StoredEvent, StoreError

    __version__: str

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

_MODULES: Final = {
    "app": ("EXPORTER", "create_app", "setup"),
    "config": ("Config", "ConfigError", "load_config"),
    "core.job": ("Job", "JobState"),
    "embedding": ("JOBS", "ExporterStoppedError", "Jobs", "RegistrationError", "UnknownJobError"),
    "registry.feed": ("HistoryGapError",),
    "registry.staging": ("RegistryFullError",),
    "service": ("Exporter",),
    "storage.store": ("StoreError", "StoredEvent"),
}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Import a public name at its first use: the command handles signals before that."""
        if name == "__version__":
            return import_module("importlib.metadata").version("removit-exporter")
        for module, names in _MODULES.items():
            if name in names:
                return getattr(import_module(f".{module}", __name__), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
