"""`python -m exporter` is `removit-exporter`."""

from .cli import main

if __name__ == "__main__":
    main(prog_name="removit-exporter")
