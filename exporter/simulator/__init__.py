"""A fake of the Removit API that speaks the whole contract, with faults and a ledger of the truth.

For the demo, the fire drill and the tests. It imports nothing of the exporter: its bodies are its
own literals (from the vendor's pages), so that the exporter is held against something else than
itself.
"""

from .faults import FAULTS, Faults, parse_fault
from .ledger import Ledger
from .script import Kind, Script
from .server import Simulator

__all__ = ["FAULTS", "Faults", "Kind", "Ledger", "Script", "Simulator", "parse_fault"]
