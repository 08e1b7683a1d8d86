"""The program `removit-exporter`, also `python -m exporter`."""

import signal

from .process import (
    OutputError,
    drop_unwritten_log,
    end_on_signals,
    end_with,
    open_standard_streams,
)


def main() -> None:
    """Run the command; signals and standard streams work before the rest is imported."""
    end_on_signals()
    open_standard_streams()
    from .cli import main as command

    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        command(prog_name="removit-exporter")
    except OutputError as error:
        end_with(error)
    finally:
        drop_unwritten_log()


if __name__ == "__main__":
    main()
