"""Registers uploaded jobs and keeps the ledger of acknowledgements, in a process of its own.

Run by `test_crash.py` as `crash_registrar.py EXPORTER LEDGER`; reads job ids from stdin, one a
line, and tries each until the exporter acknowledges it, over any number of crashes. Each
acknowledged id becomes a line of the file LEDGER, flushed before the next is tried.
"""

import http.client
import pathlib
import sys
import time

TOKEN = (pathlib.Path(__file__).parent.parent / "data" / "token").read_text().strip()
HEADERS = {"Authorization": f"Bearer {TOKEN}"}


def acknowledged(address: str, job_id: str) -> bool:
    connection = http.client.HTTPConnection(address, timeout=5)
    try:
        connection.request("PUT", f"/api/v1/jobs/{job_id}", headers=HEADERS)
        return connection.getresponse().status in (200, 201)
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def main(address: str, ledger: str) -> None:
    with pathlib.Path(ledger).open("w") as file:
        for line in sys.stdin:
            while not acknowledged(address, line.strip()):
                time.sleep(0.02)
            file.write(line)
            file.flush()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
