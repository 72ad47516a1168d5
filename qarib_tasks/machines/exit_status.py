"""Exit statuses of the trainer that are not failures."""

from __future__ import annotations

# `qarib train` stopped on request: EX_TEMPFAIL of sysexits.h. The next run resumes.
STOPPED = 75


# `qarib train` stopped because another rank ended, was lost, or did not join. That rank reports the error.
OTHER_ENDED = 76
