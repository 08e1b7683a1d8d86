"""The secrets in force: the API key and the token for writing, and what no log line may show."""

import contextlib

from . import Config, LiveConfig
from .credentials import Secret, SecretSource, create_secret_file


class Secrets:
    """Reads the key and the token anew, as their files and the config change."""

    def __init__(self, config: LiveConfig) -> None:
        self._key = config().upstream.key_source()
        self._config = config
        self._token_file = config().token_file
        self._token = SecretSource(self._token_file)
        self.known: set[str] = set()
        """Every key, token and proxy password that was ever in force. Log lines hide them."""
        self._told: dict[str, str | None] = {}
        """The problem of each file that is in the log already, by its config key."""
        self._read_all(config())
        config.subscribe(self._move)

    def key_version(self) -> int:
        """Return a number that rises with each different API key."""
        return self._key.version

    def key(self) -> Secret | None:
        """Return the upstream's API key; None where the config names none."""
        return self._read(self._key)

    def key_text(self) -> str:
        """Return the API key to be sent; empty where there is none."""
        key = self.key()
        return "" if key is None else key.reveal()

    def token(self) -> Secret | None:
        """Return the token that writing takes; None while its file cannot be read."""
        return self._read(self._token)

    def new_problems(self) -> list[str]:
        """Return one sentence for each file that has become unreadable since the last call."""
        self._read_all(self._config())
        sources = {
            "api_key_file": (self._key, "no key is in force"),
            "token_file": (self._token, "nobody can write"),
        }
        told, self._told = self._told, {name: one.problem for name, (one, _) in sources.items()}
        return [
            f"{name}: {source.problem}; "
            + (without if source.current() is None else "the value before it stays in force")
            for name, (source, without) in sources.items()
            if source.problem is not None and source.problem != told.get(name)
        ]

    def create_token(self) -> None:
        """Create the file of the token where the config names none and there is none yet.

        Raises `OSError`.
        """
        config = self._config()
        if config.registration.token_file is None:
            create_secret_file(config.token_file)
            self._token = SecretSource(config.token_file)

    def _move(self, config: Config) -> None:
        """Read the secrets from where a new config says."""
        self._key.move(config.upstream.api_key_file, config.upstream.api_key_env)
        if config.token_file != self._token_file:
            self._token_file = config.token_file
            self._token = SecretSource(config.token_file)
            with contextlib.suppress(OSError):  # without a token nobody writes
                self.create_token()
        self._read_all(config)

    def _read_all(self, config: Config) -> None:
        self.key()
        self.token()
        if password := config.upstream.proxy_password:
            self.known.add(password)

    def _read(self, source: SecretSource) -> Secret | None:
        secret = source.current()
        if secret is not None:
            self.known.add(secret.reveal())
        return secret
