"""The work of the subcommands; `cli.py` defines their flags."""
