"""What a bug report shows of the environment: these values, and of others only whether they are set."""

from __future__ import annotations

# Values of these have no secret, and no name or address of a person.
ALLOWED = (
    *("QARIB_CODE_VERSION", "QARIB_CONVERT_FIRST", "QARIB_CONVERT_POOL", "QARIB_FINETUNE_AT_ONCE"),
    *("QARIB_PAGE_TRY", "QARIB_PRELOAD", "QARIB_RETRY_SECONDS", "QARIB_RUN_DEADLINE_HOURS"),
    *("QARIB_SHARDS_AT_ONCE", "QARIB_TIMEOUT_FACTOR", "QARIB_TPU_NAME", "QARIB_TPU_WORKER"),
    *("QARIB_TPU_WORKERS", "AIRFLOW__CORE__EXECUTOR", "AIRFLOW__CORE__MAX_MAP_LENGTH"),
    *("AIRFLOW__CORE__PARALLELISM", "CUDA_VISIBLE_DEVICES", "JAX_PLATFORMS", "KERAS_BACKEND", "LANG"),
    *("LC_ALL", "OMP_NUM_THREADS", "TF_XLA_FLAGS", "XLA_FLAGS"),
)
PRESENCE = (
    *("QARIB_BUCKET", "QARIB_WORKSPACE", "QARIB_TPU", "QARIB_TPU_REQUIREMENTS", "QARIB_TPU_WHEELHOUSE"),
    *("STORAGE_EMULATOR_HOST", "CLOUD_TPU_EMULATOR_HOST", "GOOGLE_APPLICATION_CREDENTIALS"),
    *("GOOGLE_CLOUD_PROJECT", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "QARIB_GOOGLE_APIS"),
)
PACKAGES = (
    *("apache-airflow", "apache-airflow-providers-google", "google-api-core", "google-auth"),
    *("google-cloud-storage", "google-cloud-tpu", "grpcio", "jax", "jaxlib", "keras", "libtpu", "llvmlite"),
    *("numba", "numpy", "protobuf", "pyarrow", "pydantic", "safetensors", "sentencepiece", "tensorflow"),
    *("tokenizers", "uv"),
)
