"""What is done for a release, as programs: `python deploy/release/checklist.py`."""
