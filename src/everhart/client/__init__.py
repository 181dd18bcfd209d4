"""A client of the service: synchronous, small, typed.

It needs httpx alone; no part of the server is imported.

Examples
--------
>>> from everhart.client import Client
>>> with Client("http://127.0.0.1:8765") as client:  # doctest: +SKIP
...     image = client.upload("wafer.tif")
...     job = client.run("denoise", [image.id], method="nlm")
...     for result in client.results(job.id):
...         client.download(result, "clean/")
"""

from everhart.client.connection import Client
from everhart.client.records import (
    Event,
    Image,
    Job,
    Level,
    Model,
    Operation,
    Result,
    ResultFile,
    Run,
    ServiceError,
)

__all__ = [
    "Client",
    "Event",
    "Image",
    "Job",
    "Level",
    "Model",
    "Operation",
    "Result",
    "ResultFile",
    "Run",
    "ServiceError",
]
