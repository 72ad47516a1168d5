#!/bin/bash
# The startup script of a TPU machine: from a bare image to a running command.
#
# It is the same for every launch. startup.py puts the launch's values before it, as assignments quoted for the shell:
# NAME BUCKET REPORTS STOP EVERY EXPIRES LINGER PYTHON_VERSION UV WHEEL REQUIREMENTS WHEELHOUSE IMAGE, and the lists
# OBJECTS PATHS SUMS ARGUMENTS. Expand them in double quotes only.
#
# A real machine doesn't set STORAGE_EMULATOR_HOST, GCE_METADATA_HOST and CLOUD_TPU_EMULATOR_REST, nor QARIB_PYTHON,
# with which an emulated machine shares an existing environment.
set -Eeuo pipefail
export HOME="${HOME:-/root}"
WORK="$HOME/qarib/$NAME"
mkdir -p "$WORK"
cd "$WORK"
exec 9>.lock
flock -n 9 || { echo "qarib: the script is already running"; exit 0; }

STORAGE="${STORAGE_EMULATOR_HOST:-https://storage.googleapis.com}"
TPU_API="${CLOUD_TPU_EMULATOR_REST:-https://tpu.googleapis.com}"
METADATA="http://${GCE_METADATA_HOST:-metadata.google.internal}/computeMetadata/v1"
AGAIN=(--retry 8 --retry-all-errors --retry-max-time 300 --connect-timeout 10)

# Without --retry-all-errors: if the reader of the answer has ended, curl would try to write it for minutes.
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
    echo "qarib: $2 differs from the uploaded file: its SHA-256 is wrong"
    return 1
  fi
  mv .download "./$2"
}

upload() {  # FILE OBJECT TYPE
  authorization | curl -sSf "${AGAIN[@]}" -K - -o .answer -H "Content-Type: $3" --data-binary "@$1" \
    "$STORAGE/upload/storage/v1/b/$BUCKET/o?uploadType=media&name=$2"
}

report() {  # STATE: for the run's trigger; the message is the end of the log.
  local message size
  size=$(stat -c %s log)
  message=$(tail -n 20 log | tr -d '\000-\011\013-\037\177' |
    sed 's/\\/\\\\/g; s/"/\\"/g' | awk '{ printf "%s\\n", $0 }')
  # The mark changes while the work prints something, so work that hangs is noticed as well as a dead machine.
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

delete_itself() {  # Repeats until the TPU, and with it this machine, is deleted.
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

say_problem() {  # For the run's trigger, which finds no report in the bucket.
  local account problem command
  account=$(metadata instance/service-accounts/default/email)
  printf -v command ' %q' add-iam-policy-binding "gs://$BUCKET" "--member=serviceAccount:$account" \
    --role=roles/storage.objectAdmin
  problem="worker $WORKER cannot write to gs://$BUCKET as $account: $1. Run: gcloud storage buckets$command"
  echo "qarib: $problem"
  publish_problem "$problem"
}

publish_problem() {  # TEXT
  curl -sSf "${AGAIN[@]}" -X PUT -H 'Metadata-Flavor: Google' --data-binary "$1" \
    "$METADATA/instance/guest-attributes/qarib/problem"
}

end_work() {  # WHY: ask the work to save and stop, once.
  if [ ! -e ".$1" ]; then
    echo "qarib: the work is asked to stop: $1" | tee -a log
    touch ".$1"
    kill -TERM "$(cat .pid)"
  fi
}

# A line that arrives in the moment in which read's time is over is lost in bash: the file ends the loop then.
watch() {  # Until the work has ended: there is a file .ended, and a line is written to file descriptor 7.
  until read -rt "$EVERY" -u 7 _ || [ -e .ended ]; do
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
      { echo "qarib: pip can't install uv with the expected SHA-256; see the complete log for the reason"; return 1; }
    uv="$WORK/uv/bin/uv"
  fi
  rm -rf environment
  "$uv" venv --quiet --python "$PYTHON_VERSION" environment
  # fetch has checked the project's own wheel; the hashes in the requirements check all others.
  "$uv" pip install --quiet --python "$PYTHON" "${options[@]}" -r "./$REQUIREMENTS"
  "$uv" pip install --quiet --python "$PYTHON" "${options[@]}" --no-deps "./$WHEEL"
  touch environment/complete
}

has_image() { docker image inspect "$IMAGE" > /dev/null 2>&1; }

pull() {  # The engine compares the image with the digest in its address.
  local registry="${IMAGE%%/*}" i
  command -v docker > /dev/null || { echo "qarib: this runtime version has no Docker; unset image"; return 1; }
  for i in {1..60}; do if docker info > /dev/null 2>&1; then break; fi; sleep 2; done
  if has_image; then return; fi
  # Nothing else gets the account's token, and the disk does not keep it.
  export DOCKER_CONFIG="$WORK/.docker"
  case "$registry" in
    *.pkg.dev | gcr.io | *.gcr.io)
      metadata instance/service-accounts/default/token | sed -n 's/.*"access_token" *: *"\([^"]*\)".*/\1/p' |
        docker login --username oauth2accesstoken --password-stdin "https://$registry" > .answer 2>&1 ||
        cat .answer
      ;;
  esac
  for i in {1..4}; do if docker pull --quiet "$IMAGE"; then break; fi; sleep 5; done
  rm -rf "$DOCKER_CONFIG"
  has_image || {
    echo "qarib: Docker can't pull $IMAGE as $(metadata instance/service-accounts/default/email); see the lines" \
      "before this one. The account needs roles/artifactregistry.reader on the repository"
    return 1
  }
}

run_image() {  # Becomes the container's client, which passes a TERM on and has the work's exit status.
  local options=(--rm --init --name "$NAME" --user 0:0 --privileged --network host --ipc host --log-driver none)
  # A machine that shuts down gives containers this long to save.
  options+=(--stop-timeout 25 --volume "$WORK:$WORK" --workdir "$WORK" --env "HOME=$WORK" --entrypoint python)
  local variable code
  for variable in JAX_PLATFORMS PYTHONUNBUFFERED "${!QARIB_TPU_@}" GCE_METADATA_HOST STORAGE_EMULATOR_HOST; do
    if [ -n "${!variable:-}" ]; then options+=(--env "$variable"); fi
  done
  # Of the boot before this one, or of a script that was killed.
  docker rm --force "$NAME" > /dev/null 2>&1 || true
  code=$(docker image inspect --format '{{range .Config.Env}}{{println .}}{{end}}' "$IMAGE" |
    sed -n 's/^QARIB_CODE_VERSION=//p')
  echo "qarib: image $IMAGE, code ${code:-unknown}"
  exec docker run "${options[@]}" "$IMAGE" "${ARGUMENTS[@]}"
}

work() {
  echo "qarib: $NAME, worker $WORKER, $(date -u +%Y-%m-%dT%H:%M:%SZ)"
  local i
  for i in "${!OBJECTS[@]}"; do fetch "${OBJECTS[$i]}" "${PATHS[$i]}" "${SUMS[$i]}"; done
  if [ -n "$IMAGE" ]; then pull; else environment; fi
  # Without its TPU the training must fail, not continue on the CPU. Only an emulated machine has no TPU.
  if [ -z "${GCE_METADATA_HOST:-}" ]; then export JAX_PLATFORMS=tpu; fi
  echo "qarib: JAX_PLATFORMS=${JAX_PLATFORMS:-}"
  export QARIB_TPU_NAME="$NAME" QARIB_TPU_WORKER="$WORKER" PYTHONUNBUFFERED=1
  # For a slice with several machines; the address is the third part of each endpoint.
  local endpoints
  IFS=, read -ra endpoints <<< "$(metadata instance/attributes/worker-network-endpoints)"
  export QARIB_TPU_WORKERS="${#endpoints[@]}"
  QARIB_TPU_COORDINATOR="$(cut -d: -f3 <<< "${endpoints[0]:-}"):8476"
  export QARIB_TPU_COORDINATOR
  if [ -n "$IMAGE" ]; then run_image; fi
  exec "$PYTHON" "${ARGUMENTS[@]}"
}

end() {  # STATUS: the run has LINGER seconds to delete this machine; after that it deletes itself.
  if [ -n "$LINGER" ]; then
    sleep "$LINGER"
    delete_itself
  fi
  exit "$1"
}

if declare -F in_a_pod > /dev/null; then in_a_pod; fi
until WORKER=$(metadata instance/attributes/agent-worker-number); do sleep 2; done
rm -f .stopped .preempted .expired .ended
mkfifo -m 600 .wake 2>/dev/null || true
exec 7<> .wake
# A machine that shuts down sends every process a TERM. This shell handles it after the work has ended, and the
# log's writer ignores it, so the work's last output is kept.
trap 'touch .preempted' TERM
set +e
touch log
# First check whether this machine's account can write to the bucket.
PROBLEM=$(AGAIN=(--retry 2 --connect-timeout 10); report running 2>&1)
case "$PROBLEM" in
  *'error: 401'* | *'error: 403'* | *'error: 404'*)
    say_problem "${PROBLEM##*$'\n'}"
    end 1
    ;;
esac
watch 9>&- &
WATCH=$!
# A separate shell, which ends at the first error and then becomes the work itself.
( trap - TERM; set -e; echo "$BASHPID" > .pid; work ) 2>&1 < /dev/null 7>&- 9>&- |
  ( trap '' TERM; exec tee -a log 7>&- 9>&- )
STATUS=${PIPESTATUS[0]}
touch .ended
echo >&7
wait "$WATCH"
if [ "$STATUS" -eq 0 ]; then STATE=succeeded
elif [ -e .stopped ] || [ -e .expired ]; then STATE=stopped
elif [ -e .preempted ] || [ "$STATUS" -eq 75 ]; then STATE=preempted  # 75: it received a notice and has saved.
elif [ "$STATUS" -eq 76 ]; then STATE=other_ended  # Another worker has ended or is lost.
# JAX ends like this if it is the first to notice a lost worker.
elif [ "$STATUS" -eq 134 ] && is_one_of_several; then STATE=other_ended
else STATE=failed
fi
report "$STATE"
end "$STATUS"
