"""Secrets to plant: known ones in many forms, and unknown ones in what stands around them."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Callable
from urllib.parse import quote, quote_plus

# With what each encoding changes.
SECRET = 'pa/ss "wörd"+&<\\9=:'
SHORT = "tr0ub4dor"
OTHER = "correct-horse-staple"
FORMS: dict[str, Callable[[str], str]] = {
    "itself": str,
    "url-quoted": lambda s: quote(s, safe=""),
    "url-quoted, slashes kept": quote,
    "url-quoted in lower case": lambda s: quote(s, safe="").replace("%2F", "%2f").replace("%3A", "%3a"),
    "url-quoted with plus": quote_plus,
    "url-quoted twice": lambda s: quote(quote(s, safe=""), safe=""),
    "JSON": json.dumps,
    "JSON, not ASCII": lambda s: json.dumps(s, ensure_ascii=False),
    "JSON in JSON": lambda s: json.dumps(json.dumps({"x": s})),
    "repr": repr,
    "repr of bytes": lambda s: repr(s.encode()),
    "html": html.escape,
    "hex": lambda s: s.encode().hex(),
    "base64": lambda s: base64.b64encode(s.encode()).decode(),
    "base64, with more before it": lambda s: base64.b64encode(f"a{s}".encode()).decode(),
    "base64, with more around it": lambda s: base64.b64encode(f"ab{s}cd".encode()).decode(),
    "base64 for addresses": lambda s: base64.urlsafe_b64encode(s.encode()).decode(),
    "base64 in lines": lambda s: base64.encodebytes(f"{'x' * 50}{s}{'y' * 50}".encode()).decode(),
    "base64, among other bytes": lambda s: base64.b64encode(b"\xff" + s.encode() + b"\xfe").decode(),
    "base64 of JSON": lambda s: base64.b64encode(json.dumps({"x": s}).encode()).decode(),
    "traceback": lambda s: f'  File "x.py", line 3, in f\n    open({s!r})\nOSError: cannot open {s}',
}


# More than the secret is encoded.
MORE = {name for name in FORMS if name.startswith(("base64,", "base64 in", "base64 of", "JSON in", "trace"))}

UNKNOWN = [
    "https://me:hunter2-secret@example.org/x",
    "postgresql+psycopg2://airflow:hunter2-secret@db/airflow",
    "me:hunter2-secret@example.org",
    "https://storage.googleapis.com/b/o?X-Goog-Signature=hunter2-secret&X-Goog-Date=1",
    "https://x.blob.core.windows.net/c?sv=2&sig=hunter2-secret",
    "https%3A%2F%2Fme%3Ahunter2-secret%40example.org%2Fx",
    "redirect=https%3A%2F%2Fh%2F%3Ftoken%3Dhunter2-secret",
    "Authorization: Bearer hunter2-secret",
    "authorization: Basic aHVudGVyMi1zZWNyZXQ=",
    "Cookie: session=hunter2-secret; theme=dark",
    "X-Api-Key: hunter2-secret",
    "password=hunter2-secret",
    "connect(host='h', password='hunter2-secret')",
    '{"client_secret": "hunter2-secret", "x": 1}',
    '"{\\"private_key_id\\": \\"hunter2-secret\\"}"',
    "{'accessToken': 'hunter2-secret'}",
    "('api_key', 'hunter2-secret')",
    "<password>hunter2-secret</password>",
    "curl --token hunter2-secret https://example.org",
    "db_password: hunter2-secret",
    "FERNET_KEY=hunter2-secret",
    "-----BEGIN PRIVATE KEY-----\nhunter2-secret\n-----END PRIVATE KEY-----",
    "-----BEGIN RSA PRIVATE KEY-----\\nhunter2-secret\\n-----END RSA PRIVATE KEY-----",
    "-----BEGIN PRIVATE KEY-----\nhunter2-secret, cut off",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJodW50ZXIyIn0.hunter2-secret",
    "ya29.hunter2-secret",
    "ghp_hunter2-secret",
    "https://hooks.slack.com/services/T0/B0/hunter2-secret",
    base64.b64encode(b'{"password": "hunter2-secret"}').decode(),
    base64.b64encode(b"https://me:hunter2-secret@example.org/").decode(),
    b'{"password": "hunter2-secret"}'.hex(),
    base64.b64encode(b"pwd=hunter2-secret").decode(),
]
