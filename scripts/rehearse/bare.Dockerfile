# A machine with no more than Google lists for its TPU images: bash, curl, python3 with pip, coreutils, tar.
# Debian's own Python 3.11 stands in for their 3.10: the base image's is removed.
ARG BASE
# hadolint ignore=DL3006
FROM ${BASE}
# hadolint ignore=DL3008
RUN rm -rf /usr/local/bin /usr/local/lib /usr/local/include && mkdir /usr/local/bin /usr/local/lib && ldconfig \
    && apt-get update && apt-get install -y --no-install-recommends ca-certificates curl python3 python3-pip \
    && rm -rf /var/lib/apt/lists/*
CMD ["sleep", "infinity"]
