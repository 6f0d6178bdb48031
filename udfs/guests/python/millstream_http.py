"""Requests of functions in Python to the servers that the pipeline file grants by name
(`grants.http = "api.example.com"`):

    from millstream_http import NoAnswer, Request, fetch

    @scalar
    def ask(url: str) -> str:
        [answer] = fetch([Request(url)])
        if isinstance(answer, NoAnswer):
            raise answer
        return answer.body.decode()

The module is built for the world `udf-http` then, `componentize-py -d udf.wit -w udf-http ...`,
instead of `udf`.
"""

from collections.abc import Iterable
from typing import NamedTuple, Union

from componentize_py_types import Ok
from wit_world.imports import http
from wit_world.imports.http import Response


class Request(NamedTuple):
    """What is asked of a server; its headers are pairs of texts."""

    url: str
    method: str = "GET"
    headers: Iterable[tuple[str, str]] = ()
    body: bytes = b""


class NoAnswer(ValueError):
    """Why there is none."""


def fetch(requests: Iterable[Request]) -> list[Union[Response, NoAnswer]]:
    """Sends all requests at the same time, 1,000 at most, and waits for all answers, which come in
    the same order. Redirects are not followed. They take of the function's time: the pipeline file
    may say `time = "30s"`.

    An answer has `status`, `headers` and `body`, whatever its status, or is a NoAnswer.
    """
    answers = http.fetch(
        [http.Request(each.method, each.url, list(each.headers), each.body) for each in requests]
    )
    return [each.value if isinstance(each, Ok) else NoAnswer(each.value) for each in answers]
