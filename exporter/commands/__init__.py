"""What the command's verbs do; `cli.py` defines their flags."""
