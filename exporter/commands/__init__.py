"""The subcommands of `removit-exporter`: their flags and their work."""
