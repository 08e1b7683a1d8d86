"""A fake Removit API with the whole contract, with faults and a ledger of what is true.

The demo, the drill and the tests use it. It imports nothing from the exporter: its bodies are its
own literals (from the vendor's pages), so that the exporter is checked against something
independent.
"""

from .faults import FAULTS, Faults, parse_fault
from .ledger import Ledger
from .script import Kind, Script
from .server import Simulator

__all__ = ["FAULTS", "Faults", "Kind", "Ledger", "Script", "Simulator", "parse_fault"]
