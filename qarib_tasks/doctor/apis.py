"""REST calls of Google's APIs that a check needs, with the deployment's credentials."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from qarib_tasks.errors import ConfigError, QaribError

# Of a stand-in for Google's APIs, for tests: http://127.0.0.1:PORT. A call of https://NAME.googleapis.com/PATH
# then is one of http://127.0.0.1:PORT/NAME.googleapis.com/PATH.
STAND_IN = "QARIB_GOOGLE_APIS"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_CALL_SECONDS = 20.0
_OWN = ("127.0.0.1", "localhost", "::1")


class UnreachableError(QaribError):
    """No answer from Google: no route, no name server, or a proxy is missing."""


class CredentialsError(QaribError):
    """There are no credentials, or Google refuses them."""


class RefusedError(QaribError):
    """Google's answer is an error.

    Attributes:
        code: the HTTP status.
        disabled: the API that is not enabled, such as `iam.googleapis.com`; empty if it is another error.
    """

    def __init__(self, code: int, message: str, *, where: str, disabled: str = "") -> None:
        super().__init__(message, where=where)
        self.code = code
        self.disabled = disabled


def stand_in(environment: Mapping[str, str]) -> str:
    """The address of the stand-in for Google's APIs; empty without one.

    Raises:
        ConfigError: it is neither on this machine nor https: the credentials would be readable on the way.
    """
    address = environment.get(STAND_IN, "").rstrip("/")
    url = urlsplit(address)
    if address and url.scheme != "https" and (url.scheme != "http" or url.hostname not in _OWN):
        raise ConfigError(
            "must be an address of this machine, or https://",
            where=STAND_IN,
            do="Unset it, unless you test with a stand-in",
        )
    return address


class GoogleApis:
    """Google's APIs.

    Args:
        credentials: of google-auth; None: without any.
        base: see `stand_in`.
    """

    def __init__(self, credentials: Any, base: str = "") -> None:
        import requests  # type: ignore[import-untyped,unused-ignore]
        from google.auth.transport.requests import AuthorizedSession
        from requests.adapters import HTTPAdapter  # type: ignore[import-untyped,unused-ignore]
        from urllib3.util import Retry

        self.base = base
        self._credentials = credentials
        self._session: Any = AuthorizedSession(credentials) if credentials else requests.Session()
        again = Retry(
            total=3,
            connect=1,
            backoff_factor=0.5,
            status_forcelist=(429, 500, 502, 503, 504),
            allowed_methods=None,
            raise_on_status=False,
        )
        self._session.mount(base or "https://", HTTPAdapter(max_retries=again))

    def get(self, service: str, path: str, **query: Any) -> dict[str, Any]:
        """One call: `get("compute", "compute/v1/projects/…")`.

        Raises:
            UnreachableError, CredentialsError, RefusedError
        """
        return self._call("GET", service, path, params=query)

    def post(self, service: str, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return self._call("POST", service, path, json=body)

    def pages(self, service: str, path: str, items: str, **query: Any) -> Iterator[dict[str, Any]]:
        """Every item of a list, from all pages."""
        token = ""
        while True:
            page = self.get(service, path, **query, **({"pageToken": token} if token else {}))
            yield from page.get(items, ())
            token = page.get("nextPageToken", "")
            if not token:
                return

    @property
    def token(self) -> str:
        """The access token of the last call."""
        return str(getattr(self._credentials, "token", None) or "")

    def skew(self) -> float:
        """By how many seconds this machine's clock is ahead of Google's.

        Raises:
            UnreachableError: Google does not answer.
        """
        import requests

        began = time.time()
        with _reached(url := self._url("storage", "storage/v1/")):
            # Without credentials: with a wrong clock, there are none.
            answer = requests.get(url, timeout=_CALL_SECONDS, allow_redirects=False)
        middle = (began + time.time()) / 2
        date = answer.headers.get("Date")
        if not date:
            raise UnreachableError(
                "the answer has no date: it is not Google's", where=url, do="Check the proxy"
            )
        # The header has complete seconds, rounded down.
        return middle - (parsedate_to_datetime(date).timestamp() + 0.5)

    def _url(self, service: str, path: str) -> str:
        host = f"{service}.googleapis.com"
        return f"{self.base}/{host}/{path}" if self.base else f"https://{host}/{path}"

    def _call(self, method: str, service: str, path: str, **more: Any) -> dict[str, Any]:
        with _reached(url := self._url(service, path)):
            answer = self._session.request(method, url, timeout=_CALL_SECONDS, **more)
        try:
            body = answer.json() if answer.content else {}
        except ValueError:
            body = {}
        if answer.status_code >= 400:
            error = body.get("error") if isinstance(body, dict) else None
            error = error if isinstance(error, dict) else {}
            message = str(error.get("message") or f"HTTP status {answer.status_code}")
            disabled = _disabled(error, service)
            raise RefusedError(answer.status_code, message[:300], where=url, disabled=disabled)
        return dict(body)


def _disabled(error: Mapping[str, Any], service: str) -> str:
    """The API that an error says is not enabled."""
    for detail in error.get("details", ()):
        if detail.get("reason") == "SERVICE_DISABLED":
            return str(detail.get("metadata", {}).get("service") or f"{service}.googleapis.com")
    reasons = [one.get("reason") for one in error.get("errors", ())]
    return f"{service}.googleapis.com" if "accessNotConfigured" in reasons else ""


class _reached:
    """Turns what a session raises into an error that says what to do."""

    def __init__(self, url: str) -> None:
        self.url = url

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        import requests
        from google.auth.exceptions import GoogleAuthError, TransportError

        host = urlsplit(self.url).netloc
        if isinstance(error, requests.RequestException | TransportError):
            raise UnreachableError(
                f"cannot be reached from this machine ({type(error).__name__})",
                where=host,
                do=f"curl -sSI --max-time 10 {self.url} shows the reason: add a route to the internet or "
                "Private Google Access, a name server, or the proxy (HTTPS_PROXY)",
            ) from None
        if isinstance(error, GoogleAuthError):
            raise refused_credentials(error) from None


def refused_credentials(error: BaseException) -> CredentialsError:
    """The error for one of google-auth."""
    # A refused refresh has Google's complete answer as another argument.
    text = " ".join(str(error.args[0] if error.args else error).split())[:300]
    return CredentialsError(
        f"no usable credentials: {text}",
        do="gcloud auth application-default login, or set GOOGLE_APPLICATION_CREDENTIALS to a key of the "
        "service account; in Airflow, renew the connection",
    )
