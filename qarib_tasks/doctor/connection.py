"""Whether Google answers, the clock, and the credentials."""

from __future__ import annotations

from typing import Any

from qarib_tasks.doctor.apis import GoogleApis, UnreachableError, refused_credentials
from qarib_tasks.doctor.result import Result, fault, of_error, ok, warning

SKEW_WARNING, SKEW_FAULT = 10.0, 120.0
SET_CLOCK = "sudo timedatectl set-ntp true, or with chrony: sudo chronyc makestep"


def check_clock(apis: GoogleApis) -> list[Result]:
    """Whether Google answers, and how far this machine's clock is from the date of the answer."""
    try:
        skew = apis.skew()
    except UnreachableError as error:
        return [of_error("route", error)]
    reached = ok("route", "Google's APIs answer")
    if abs(skew) <= SKEW_WARNING:
        return [reached, ok("clock", f"within {SKEW_WARNING:g} seconds of Google's")]
    what = (
        f"this machine's clock is {abs(skew):,.0f} seconds {'ahead of' if skew > 0 else 'after'} Google's: "
        "keys are refused, and TPUs expire at the wrong time"
    )
    made = fault if abs(skew) > SKEW_FAULT else warning
    return [reached, made("clock", what, do=SET_CLOCK)]


def check_credentials(credentials: Any) -> tuple[list[Result], str]:
    """Whether Google gives a token for the credentials, and the account as IAM policies name it."""
    from google.auth.exceptions import GoogleAuthError
    from google.auth.transport.requests import Request

    try:
        credentials.refresh(Request())
    except GoogleAuthError as error:
        return [of_error("credentials", refused_credentials(error))], ""
    who = member(credentials)
    return [ok("credentials", who.replace('"', ""))], who


def member(credentials: Any) -> str:
    """The account, as IAM policies name it, for a command in a shell."""
    email = getattr(credentials, "service_account_email", None)
    if email and "@" in str(email):
        return f"serviceAccount:{email}"
    account = getattr(credentials, "account", None)
    return f"user:{account}" if account else '"user:$(gcloud config get-value account)"'
