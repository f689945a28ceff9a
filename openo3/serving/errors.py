"""Refusals as OpenAI's clients read them.

{"error": {"message": "…", "type": "invalid_request_error", "param": "messages", "code": "bad_clip"}}
"""

from __future__ import annotations

from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


class ApiError(Exception):
    """A request is refused or fails; `message` is for the person who asked."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.retry_after_s = retry_after_s

    def to_json(self) -> dict[str, Any]:
        kind = TYPES.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        return {
            "error": {"message": self.message, "type": kind, "param": self.param, "code": self.code},
        }

    def response(self) -> JSONResponse:
        headers = {}
        if self.retry_after_s is not None:
            headers["Retry-After"] = str(self.retry_after_s)
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return JSONResponse(self.to_json(), self.status, headers)


def invalid(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """The request itself is wrong."""
    return ApiError(400, message, param=param, code=code)


def too_large(most: int) -> ApiError:
    """A body of more than `most` bytes."""
    return ApiError(413, f"more than {most / 1e6:g} MB", code="too_large")


async def refuse(_: Request, error: Exception) -> Response:
    """The handler of an application's refusals: every one has the form of OpenAI's."""
    if isinstance(error, HTTPException):
        error = ApiError(error.status_code, str(error.detail))
    elif isinstance(error, RequestValidationError):  # of what is in the path
        error = ApiError(404, "not found")
    elif isinstance(error, ClientDisconnect):
        error = ApiError(499, "the client has gone")
    assert isinstance(error, ApiError)
    return error.response()
