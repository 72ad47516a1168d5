# What is different in a pod, for startup.sh. Kubernetes has no machine to ask or to delete; tokens are the metadata
# server's there too. pod.py puts it and the assignment of ENDPOINTS before startup.sh.

# Only the first process of a pod gets its TERM, and bash would handle it after the work has ended.
if [ "${QARIB_POD:-}" != "$NAME" ]; then
  export QARIB_POD="$NAME"
  leave() { touch "$HOME/qarib/$NAME/.preempted"; kill -TERM "$(cat "$HOME/qarib/$NAME/.pid")"; }
  trap leave TERM
  bash -c "$BASH_EXECUTION_STRING" &
  CHILD=$!
  while wait "$CHILD"; STATUS=$?; kill -0 "$CHILD" 2>/dev/null; do :; done
  exit "$STATUS"
fi

in_a_pod() {
  metadata() {
    case "$1" in
      instance/attributes/agent-worker-number) echo "${JOB_COMPLETION_INDEX:-0}" ;;
      instance/attributes/worker-network-endpoints) echo "$ENDPOINTS" ;;
      instance/preempted | instance/maintenance-event) echo NONE ;;
      *) curl -sSf --retry 8 --retry-connrefused --connect-timeout 10 -H 'Metadata-Flavor: Google' "$METADATA/$1" ;;
    esac
  }
  publish_problem() { printf '%s' "$1" > "${QARIB_TERMINATION_LOG:-/dev/termination-log}"; }
  delete_itself() { exit 1; }  # activeDeadlineSeconds ends the pod.
}
