"""What the command's verbs do; `cli.py` gives them their flags."""
