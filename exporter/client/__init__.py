"""A client of the exporter, for programs that upload: `AsyncClient`, and `Client` without asyncio.

    client = Client("http://127.0.0.1:10977", token=token, api_key=key)
    client.register("019cdc54-2673-dc32-b9e5-6e1d36cc9e8a", key="sku-4711")
    job = client.wait("019cdc54-2673-dc32-b9e5-6e1d36cc9e8a", timeout=300)

Registering a job twice has no further effect, so every failed call is repeated, for up to
`patience` seconds without success. When a call returns, the exporter has stored the job on disk.
"""

from .asynchronous import AsyncClient
from .blocking import Client
from .documents import EventDocument, FailureDocument, FullJobDocument, JobDocument
from .errors import ExporterError, RefusedError, UnreachableError
from .http import DEFAULT_URL
from .jobs import Job, Refusal, Registration, Summary

__all__ = [
    "DEFAULT_URL",
    "AsyncClient",
    "Client",
    "EventDocument",
    "ExporterError",
    "FailureDocument",
    "FullJobDocument",
    "Job",
    "JobDocument",
    "Refusal",
    "RefusedError",
    "Registration",
    "Summary",
    "UnreachableError",
]
