"""Functions that ask servers, in Python."""

from millstream import *
from millstream_http import NoAnswer, Request, fetch


def shown(answer) -> str:
    if isinstance(answer, NoAnswer):
        return f"error: {answer}"
    echoed = dict(answer.headers).get("x-echo", "-")
    return f"{answer.status} {echoed} {answer.body.decode()}"


@scalar(deterministic=False)
def fetched(urls: list[str]) -> list[str]:
    return [shown(answer) for answer in fetch(map(Request, urls))]


@scalar(deterministic=False)
def posted(url: str, body: str) -> str:
    headers = [("x-from", "millstream"), ("x-two", "2")]
    [answer] = fetch([Request(url, "POST", headers, body.encode())])
    if isinstance(answer, NoAnswer):
        raise answer
    return shown(answer)
