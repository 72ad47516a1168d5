#!/bin/bash
# The startup script of a TPU machine: from a bare image to a running command.
#
# The same for every launch. startup.py puts a launch's values, quoted for the shell, in front of it as assignments:
# NAME BUCKET REPORTS STOP EVERY EXPIRES LINGER PYTHON_VERSION UV WHEEL REQUIREMENTS WHEELHOUSE, and the lists
# OBJECTS PATHS SUMS ARGUMENTS. Expand them in double quotes only.
#
# A real machine doesn't set STORAGE_EMULATOR_HOST, GCE_METADATA_HOST and CLOUD_TPU_EMULATOR_REST, nor QARIB_PYTHON,
# with which an emulated machine shares an existing environment.
set -Eeuo pipefail
HOME="${HOME:-/root}"
WORK="$HOME/qarib/$NAME"
mkdir -p "$WORK"
cd "$WORK"
exec 9>.lock
flock -n 9 || { echo "qarib: it runs already"; exit 0; }

STORAGE="${STORAGE_EMULATOR_HOST:-https://storage.googleapis.com}"
TPU_API="${CLOUD_TPU_EMULATOR_REST:-https://tpu.googleapis.com}"
METADATA="http://${GCE_METADATA_HOST:-metadata.google.internal}/computeMetadata/v1"
AGAIN=(--retry 8 --retry-all-errors --retry-max-time 300 --connect-timeout 10)

# Not after all errors: whoever reads the answer may be gone, and curl would try to write it for minutes.
metadata() {
  curl -sSf --retry 8 --retry-connrefused --connect-timeout 10 -H 'Metadata-Flavor: Google' "$METADATA/$1"
}

authorization() {  # On standard input of curl, so that no process list shows the token.
  metadata instance/service-accounts/default/token |
    sed -n 's/.*"access_token" *: *"\([^"]*\)".*/header = "Authorization: Bearer \1"/p'
}

fetch() {  # OBJECT FILE SHA256
  if [ -f "$2" ] && echo "$3  $2" | sha256sum -c --status 2>/dev/null; then return; fi
  mkdir -p "$(dirname "./$2")"
  authorization | curl -sSf "${AGAIN[@]}" -K - -o .download "$STORAGE/storage/v1/b/$BUCKET/o/$1?alt=media"
  if [ "$(sha256sum < .download)" != "$3  -" ]; then
    echo "qarib: $2 is not what was uploaded: its SHA-256 differs"
    return 1
  fi
  mv .download "./$2"
}

upload() {  # FILE OBJECT TYPE
  authorization | curl -sSf "${AGAIN[@]}" -K - -o .answer -H "Content-Type: $3" --data-binary "@$1" \
    "$STORAGE/upload/storage/v1/b/$BUCKET/o?uploadType=media&name=$2"
}

report() {  # STATE: what the run's operator reads; the message is the log's end.
  local message size
  size=$(stat -c %s log)
  message=$(tail -n 20 log | tr -d '\000-\011\013-\037\177' |
    sed 's/\\/\\\\/g; s/"/\\"/g' | awk '{ printf "%s\\n", $0 }')
  # The mark changes as long as the work prints something: work that hangs shows as well as a dead machine.
  printf '{"name": "%s", "mark": "%s %s", "state": "%s", "message": "%s"}\n' \
    "$NAME" "$1" "$size" "$1" "$message" > .report
  upload log "$REPORTS$WORKER.log" 'text/plain; charset=utf-8'
  upload .report "$REPORTS$WORKER.json" application/json
}

is_one_of_several() { [[ "$(metadata instance/attributes/worker-network-endpoints)" == *,* ]]; }

is_asked_to_stop() {
  authorization | curl -sf --connect-timeout 10 -K - -o .answer "$STORAGE/storage/v1/b/$BUCKET/o/$STOP"
}

is_leaving() {  # Preempted, or about to be stopped for maintenance.
  [ "$(metadata instance/preempted)" = TRUE ] ||
    case "$(metadata instance/maintenance-event)" in TERMINATE*) true ;; *) false ;; esac
}

is_expired() { [ -n "$EXPIRES" ] && [ "$(date +%s)" -ge "$((EXPIRES + $1))" ]; }

delete_itself() {  # Until it is gone, and this machine with it.
  local project zone
  project=$(metadata project/project-id)
  zone=$(metadata instance/zone)
  while true; do
    echo "qarib: $NAME deletes itself"
    authorization | curl -sS --connect-timeout 10 -K - -o .answer -X DELETE \
      "$TPU_API/v2alpha1/projects/$project/locations/${zone##*/}/queuedResources/$NAME?force=true"
    sleep 30
  done
}

say_problem() {  # For whoever follows the run and finds nothing in the bucket.
  local account problem
  account=$(metadata instance/service-accounts/default/email)
  problem="worker $WORKER cannot write to gs://$BUCKET as $account: $1. Run: gcloud storage buckets \
add-iam-policy-binding gs://$BUCKET --member=serviceAccount:$account --role=roles/storage.objectAdmin"
  echo "qarib: $problem"
  curl -sSf "${AGAIN[@]}" -X PUT -H 'Metadata-Flavor: Google' --data-binary "$problem" \
    "$METADATA/instance/guest-attributes/qarib/problem"
}

end_work() {  # WHY: ask it to save and end, once.
  if [ ! -e ".$1" ]; then
    echo "qarib: the work is asked to end: $1" | tee -a log
    touch ".$1"
    kill -TERM "$(cat .pid)"
  fi
}

watch() {  # Until somebody writes a line to 7.
  until read -rt "$EVERY" -u 7 _; do
    report running
    if is_asked_to_stop; then end_work stopped; fi
    if is_leaving; then end_work preempted; fi
    if is_expired 0; then end_work expired; fi
    if is_expired 600; then delete_itself; fi
  done
}

environment() {
  if [ -n "${QARIB_PYTHON:-}" ]; then PYTHON="$QARIB_PYTHON"; return; fi
  PYTHON="$WORK/environment/bin/python"
  if [ -f environment/complete ]; then return; fi
  local uv options=()
  if [ -n "$WHEELHOUSE" ]; then
    mkdir -p wheelhouse
    tar -xf "./$WHEELHOUSE" -C wheelhouse
    uv="$WORK/wheelhouse/uv"
    export UV_PYTHON_INSTALL_MIRROR="file://$WORK/wheelhouse/python"
    options=(--no-index --find-links wheelhouse)
  else
    printf '%s\n' "$UV" > uv.txt
    rm -rf uv
    PIP_ROOT_USER_ACTION=ignore python3 -m pip install --quiet --disable-pip-version-check --retries 8 \
      --no-deps --only-binary :all: --require-hashes --target uv --requirement uv.txt ||
      { echo "qarib: pip can't install uv with the expected SHA-256; the whole log says why"; return 1; }
    uv="$WORK/uv/bin/uv"
  fi
  rm -rf environment
  "$uv" venv --quiet --python "$PYTHON_VERSION" environment
  # The project's own wheel was checked when it was fetched; all others by the hashes in the requirements.
  "$uv" pip install --quiet --python "$PYTHON" "${options[@]}" -r "./$REQUIREMENTS"
  "$uv" pip install --quiet --python "$PYTHON" "${options[@]}" --no-deps "./$WHEEL"
  touch environment/complete
}

work() {
  echo "qarib: $NAME, worker $WORKER, $(date -u +%Y-%m-%dT%H:%M:%SZ)"
  local i
  for i in "${!OBJECTS[@]}"; do fetch "${OBJECTS[$i]}" "${PATHS[$i]}" "${SUMS[$i]}"; done
  environment
  # Without its TPU the training must fail, not go on with the processor.
  if [ -z "${QARIB_PYTHON:-}" ]; then export JAX_PLATFORMS=tpu; fi
  export QARIB_TPU_NAME="$NAME" QARIB_TPU_WORKER="$WORKER" PYTHONUNBUFFERED=1
  # Of a slice with several machines; the address is the third part of each endpoint.
  local endpoints
  IFS=, read -ra endpoints <<< "$(metadata instance/attributes/worker-network-endpoints)"
  export QARIB_TPU_WORKERS="${#endpoints[@]}"
  QARIB_TPU_COORDINATOR="$(cut -d: -f3 <<< "${endpoints[0]:-}"):8476"
  export QARIB_TPU_COORDINATOR
  exec "$PYTHON" "${ARGUMENTS[@]}"
}

end() {  # STATUS: whoever follows the run has a while to delete this machine; else it does so itself.
  if [ -n "$LINGER" ]; then
    sleep "$LINGER"
    delete_itself
  fi
  exit "$1"
}

until WORKER=$(metadata instance/attributes/agent-worker-number); do sleep 2; done
rm -f .stopped .preempted .expired
mkfifo -m 600 .wake 2>/dev/null || true
exec 7<> .wake
# A machine that goes down sends every process a TERM. This shell heeds it when the work has ended, the log's
# writer not at all: what the work still says is kept.
trap 'touch .preempted' TERM
set +e
touch log
# The first thing: whether this machine's account may write where it has to.
PROBLEM=$(AGAIN=(--retry 2 --connect-timeout 10); report running 2>&1)
case "$PROBLEM" in
  *'error: 401'* | *'error: 403'* | *'error: 404'*)
    say_problem "${PROBLEM##*$'\n'}"
    end 1
    ;;
esac
watch 9>&- &
WATCH=$!
# In a shell of its own the first thing that fails is the end; it becomes the work itself.
( trap - TERM; set -e; echo "$BASHPID" > .pid; work ) 2>&1 < /dev/null 7>&- 9>&- |
  ( trap '' TERM; exec tee -a log 7>&- 9>&- )
STATUS=${PIPESTATUS[0]}
echo >&7
wait "$WATCH"
if [ "$STATUS" -eq 0 ]; then STATE=succeeded
elif [ -e .stopped ] || [ -e .expired ]; then STATE=stopped
elif [ -e .preempted ] || [ "$STATUS" -eq 75 ]; then STATE=preempted  # 75: it was told to go, and has saved.
elif [ "$STATUS" -eq 76 ]; then STATE=other_ended  # Another worker has, or is gone.
# So ends JAX, where it hears first of a worker that is gone.
elif [ "$STATUS" -eq 134 ] && is_one_of_several; then STATE=other_ended
else STATE=failed
fi
report "$STATE"
end "$STATUS"
