"""Exit statuses of the trainer that are not failures."""

from __future__ import annotations

# The exit status of `qarib train` when it was asked to end and did: EX_TEMPFAIL of sysexits.h. Running it
# again continues.
STOPPED = 75


# … when another of the processes that train together has ended, was lost or never came. What failed is said
# by the other one.
OTHER_ENDED = 76
