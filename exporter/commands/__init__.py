"""The work of the command's verbs; `cli.py` defines their flags."""
