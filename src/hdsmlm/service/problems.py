"""Errors as answers: one shape, a word for programs and a sentence for people."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from hdsmlm.errors import HdsmlmError
from hdsmlm.service.schemas import Problem

RESPONSES: dict[int | str, dict[str, Any]] = {
    code: {"model": Problem, "description": text}
    for code, text in (
        (400, "the request is malformed"),
        (401, "the token is missing or wrong"),
        (403, "not allowed"),
        (404, "there is no such thing"),
        (405, "not a method of this address"),
        (408, "the client was too slow"),
        (409, "it does not fit the state of things"),
        (413, "too large"),
        (422, "a value is not possible"),
        (429, "too many requests"),
        (503, "the service is busy"),
    )
}
_WORDS = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "too_slow",
    409: "conflict",
    413: "too_large",
    422: "invalid",
    429: "too_many_requests",
    500: "internal",
    503: "busy",
}
_PLAIN = {
    404: "there is no such address",
    405: "this address does not know that method",
    500: "the server failed; this is a fault of the program. Look at the server's log",
}


class Refusal(Exception):  # noqa: N818 - an answer, not a failure
    """An answer that is an error.

    Parameters
    ----------
    status : int
        HTTP status.
    message : str
        What was wanted, what came, what to do.
    code : str, optional
        Word for programs; default: by the status.
    headers : dict, optional
        Further headers.
    """

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message = status, message
        self.code = code or _WORDS.get(status, "error")
        self.headers = headers or {}

    def answer(self) -> JSONResponse:
        """Return the response."""
        body = {"error": {"code": self.code, "message": self.message}}
        return JSONResponse(body, self.status, self.headers)


def server_fault() -> Refusal:
    """Return the answer where the program failed."""
    return Refusal(500, _PLAIN[500])


def explain_errors(app: FastAPI) -> None:
    """Give every error of the application the one shape."""
    for kind, answer in _ANSWERS.items():
        app.add_exception_handler(kind, _handler(answer))


def _handler(answer: Callable[[Any], Refusal]) -> Callable[[Request, Exception], Any]:
    async def handle(request: Request, error: Exception) -> JSONResponse:
        refusal = answer(error)
        if refusal.status == 405:
            refusal.headers = {"Allow": ", ".join(sorted(_methods(request)))}
        return refusal.answer()

    return handle


def _methods(request: Request) -> set[str]:
    """Return the methods of an address: of all its routes, not of the first alone."""
    found: set[str] = set()
    for template, methods in request.app.openapi()["paths"].items():
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), request.url.path):
            found |= {method.upper() for method in methods}
    return found or {"GET"}


def _of_http(error: HTTPException) -> Refusal:
    message = _PLAIN.get(error.status_code, str(error.detail))
    return Refusal(error.status_code, message, headers=dict(error.headers or {}))


def _of_values(error: RequestValidationError) -> Refusal:
    return Refusal(422, "; ".join(_explain(problem) for problem in error.errors()))


_ANSWERS: dict[type[Exception], Callable[[Any], Refusal]] = {
    Refusal: lambda error: error,
    HdsmlmError: lambda error: Refusal(422, str(error)),
    RequestValidationError: _of_values,
    HTTPException: _of_http,
}


def _explain(problem: dict[str, Any]) -> str:
    where = ".".join(str(part) for part in problem["loc"] if part not in ("body", "query", "path"))
    return f"{where or 'the body'}: {problem['msg']}"
