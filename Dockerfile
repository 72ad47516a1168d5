# One image for every part of the deployment. Targets:
#   full     all steps, including training on the worker (TensorFlow, JAX)
#   airflow  without TensorFlow and JAX: runs all tasks except evaluate, export, and train on a worker
#   tpu      without Airflow: what a TPU's machine or a GKE node runs (`tpu.image`), with JAX for TPUs
#
#   DOCKER_BUILDKIT=1 docker build --target full --tag qarib --build-arg QARIB_CODE_VERSION=$(git rev-parse HEAD) .
#
# `make images` sets the digest to that of the newest image; another image: --build-arg PYTHON_IMAGE=...
ARG PYTHON_IMAGE=python:3.12-slim-bookworm@sha256:34386ef0cb081344d7ec1c103ba398e6e9f64e9ab3a1509accc92a4e24a07258

# hadolint ignore=DL3006
FROM ${PYTHON_IMAGE} AS installer
ENV VIRTUAL_ENV=/opt/venv UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 UV_CACHE_DIR=/var/cache/uv PIP_CACHE_DIR=/var/cache/pip
COPY qarib_tasks/tpu/machine/uv.txt requirements/ /requirements/
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# Everything has the checksums of a lock. Every package has wheels, so no compiler is needed. The program that
# lists the packages is in a virtual environment of its own, which stays here.
# hadolint ignore=DL3042
RUN --mount=type=cache,target=/var/cache/pip --mount=type=cache,target=/var/cache/uv \
    python -m venv "$VIRTUAL_ENV" && pip install --require-hashes --requirement /requirements/uv.txt \
    && uv venv /opt/sbom \
    && uv pip install --python /opt/sbom/bin/python --require-hashes --only-binary :all: \
      --requirement /requirements/sbom.txt

FROM installer AS build
# Removes test suites, which nothing imports.
RUN --mount=type=cache,target=/var/cache/uv \
    uv pip install --require-hashes --only-binary :all: --requirement /requirements/airflow.txt \
    && find "$VIRTUAL_ENV"/lib/python3*/site-packages/{numpy,pandas,pyarrow,scipy} \
      -type d -name tests -prune -exec rm -rf {} +
ENV SBOM="/opt/sbom/bin/cyclonedx-py environment --output-reproducible --output-file /opt/venv/sbom.json"
RUN $SBOM /opt/venv/bin/python

FROM build AS build-full
# TensorFlow without its GPU code, as the image has no drivers, and without its C++ headers: saves 1 GB.
RUN --mount=type=cache,target=/var/cache/uv \
    uv pip install --require-hashes --only-binary :all: --requirement /requirements/train_cpu.txt \
    && rm -rf "$VIRTUAL_ENV"/lib/python3*/site-packages/tensorflow/include
# Nothing at run time uses the compiler's library, the installer or ray's Java part: saves 0.1 GB.
RUN uv pip uninstall libclang pip && rm -rf "$VIRTUAL_ENV"/lib/python3*/site-packages/ray/jars \
    && $SBOM /opt/venv/bin/python

FROM installer AS build-tpu
RUN --mount=type=cache,target=/var/cache/uv \
    uv pip install --require-hashes --only-binary :all: --requirement /requirements/tpu.txt \
    && rm -rf "$VIRTUAL_ENV"/lib/python3*/site-packages/tensorflow/include \
    && uv pip uninstall libclang pip
RUN /opt/sbom/bin/cyclonedx-py environment --output-reproducible --output-file /opt/venv/sbom.json /opt/venv/bin/python

FROM build AS project
WORKDIR /opt/qarib
COPY . .
# With a read-only root nothing can be compiled later.
RUN PYTHONPATH=/opt/qarib "$VIRTUAL_ENV/bin/python" -m qarib_tasks.conversion.compile_ahead \
    && "$VIRTUAL_ENV/bin/python" -m compileall -q dags plugins qarib_tasks deploy \
    && printf '#!/opt/venv/bin/python\nfrom qarib_tasks.cli.main import main\n\nmain()\n' > /usr/local/bin/qarib \
    && chmod 755 /usr/local/bin/qarib

# hadolint ignore=DL3006
FROM ${PYTHON_IMAGE} AS base
LABEL org.opencontainers.image.title="qarib" org.opencontainers.image.licenses="Apache-2.0"
# User and group id as in Airflow's own images, as its Helm chart expects.
RUN useradd --uid 50000 --gid 0 --no-create-home --home-dir /opt/airflow qarib \
    && install -d -o 50000 -g 0 -m 775 /opt/airflow /workspace /logs \
    && install -d -o 50000 -g 0 -m 755 /secrets /secrets/api /secrets/database /secrets/emulators \
      /secrets/postgres /secrets/queue /secrets/redis /secrets/tokens
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/opt/qarib:/opt/qarib/plugins \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PYTHONWARNINGS=ignore:GitWildMatchPattern:DeprecationWarning \
    AIRFLOW_HOME=/opt/airflow \
    AIRFLOW__CORE__DAGS_FOLDER=/opt/qarib/dags \
    AIRFLOW__CORE__PLUGINS_FOLDER=/opt/qarib/plugins \
    AIRFLOW__CORE__LOAD_EXAMPLES=False \
    AIRFLOW__CORE__MAX_MAP_LENGTH=10000 \
    AIRFLOW__CELERY__CELERY_CONFIG_OPTIONS=qarib_airflow.deployment.celery_config.CONFIG \
    QARIB_PRELOAD=1 \
    QARIB_WORKSPACE=/workspace
WORKDIR /opt/airflow
# Checks the service that QARIB_ROLE names; without one, the container counts as healthy.
HEALTHCHECK --interval=20s --timeout=60s --start-period=300s --retries=5 \
    CMD ["python", "/opt/qarib/deploy/healthcheck.py"]
CMD ["airflow", "version"]

FROM base AS airflow
COPY --from=build /opt/venv /opt/venv
COPY --from=project /usr/local/bin/qarib /usr/local/bin/qarib
COPY --from=project /opt/qarib /opt/qarib
# What manifests say of the code (`made_by`): the image has no history. Last, as it changes with each commit.
ARG QARIB_CODE_VERSION=""
ENV QARIB_CODE_VERSION=${QARIB_CODE_VERSION}
USER 50000:0

# The machine starts it as root, for the TPU's devices, and in the folder of the training.
# hadolint ignore=DL3006
FROM ${PYTHON_IMAGE} AS tpu
LABEL org.opencontainers.image.title="qarib-tpu" org.opencontainers.image.licenses="Apache-2.0"
# A pod of GKE runs the startup script itself, which uses curl.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends curl && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 50000 --gid 0 --no-create-home --home-dir /opt/qarib qarib
ENV PATH=/opt/venv/bin:$PATH PYTHONPATH=/opt/qarib PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
COPY --from=build-tpu /opt/venv /opt/venv
COPY --from=project /opt/qarib/qarib_tasks /opt/qarib/qarib_tasks
ARG QARIB_CODE_VERSION=""
ENV QARIB_CODE_VERSION=${QARIB_CODE_VERSION}
USER 50000:0
CMD ["python", "-m", "qarib_tasks.cli", "--help"]

FROM base AS full
# The machines of the emulated Cloud TPU run the real startup script, which uses curl.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends curl && rm -rf /var/lib/apt/lists/*
COPY --from=build-full /opt/venv /opt/venv
COPY --from=project /usr/local/bin/qarib /usr/local/bin/qarib
COPY --from=project /opt/qarib /opt/qarib
ARG QARIB_CODE_VERSION=""
ENV QARIB_CODE_VERSION=${QARIB_CODE_VERSION}
USER 50000:0
