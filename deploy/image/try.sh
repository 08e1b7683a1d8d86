#!/usr/bin/env bash
# Tries the image that build.sh made, as it is meant to run:  deploy/image/try.sh
#
# It prints each command that it runs. The containers have no network, a read-only root file system, no
# capabilities and no way to gain rights; they can write to /data only.

source "$(dirname "$0")/engine.sh"

strict=(--network=none --read-only --cap-drop=ALL --security-opt=no-new-privileges)
# podman would put a file system in memory over /tmp; without it, a program that writes there is noticed.
[ "${engine[0]}" = podman ] && strict+=(--read-only-tmpfs=false)
name=removit-exporter-try-$$
volume=$name
scratch=$(mktemp -d)
# Without systemd, podman reports at each start that it cannot run the image's check by itself.
container() { "${engine[@]}" "$@" 2> >(grep -v 'systemd connection' >&2); }
clean() {
  container rm --force "$name" >/dev/null 2>&1 || true
  container volume rm --force "$volume" >/dev/null 2>&1 || true
  rm -rf "$scratch"
}
trap clean EXIT

step() {
  printf '\n$ %s\n' "${engine[0]} $*"
  container "$@"
}
fail() {
  echo "FAILED: $*" >&2
  container logs "$name" >&2 || true
  exit 1
}

step run --rm "${strict[@]}" "$image" --version
step run --rm "${strict[@]}" --volume "$volume:/data" "$image" assets monitoring
step run --rm "${strict[@]}" --volume "$volume:/data" "$image" rules rules
# Code 1: it ran, but this machine was too busy for a verdict in time.
step run --rm "${strict[@]}" --volume "$volume:/data" "$image" demo --for 10s | tee "$scratch/said" || true
tail -1 "$scratch/said" | grep -q equal || fail "the demo compared nothing"

mkdir "$scratch/config"
# Nothing answers there: the exporter has to be healthy all the same.
printf 'upstream: {base_url: "http://127.0.0.1:9", api_key_file: api.key}\n' >"$scratch/config/config.yaml"
printf 'a-key' >"$scratch/config/api.key"
chmod -R a+rX "$scratch"
serve=(run --detach --name "$name" "${strict[@]}" --volume "$scratch/config:/etc/removit-exporter:ro"
  --volume "$volume:/data" "$image")
health=(exec "$name" removit-exporter healthcheck --config.file=/etc/removit-exporter/config.yaml)
register=(exec "$name" removit-exporter register --exporter.token-file=/data/removit-exporter.db.token job-a)

healthy() {
  for _ in $(seq 60); do
    container "${health[@]}" >/dev/null 2>&1 && return
    sleep 0.5
  done
  fail "the exporter is not healthy"
}

step "${serve[@]}"
healthy
step "${health[@]}"
step "${register[@]}" | tee "$scratch/said"
[ "$(tail -1 "$scratch/said")" = "registered 1, known 0, refused 0" ] || fail "the job was not registered"
[ "$(container exec "$name" python -c 'import os; print(os.getuid())')" = 10977 ] || fail "it runs as another user"
container exec "$name" python -c 'open("/written", "w")' 2>/dev/null && fail "the root file system can be written"
[ "$(container inspect --format '{{len .Mounts}}' "$name")" = 2 ] || fail "there is another volume"
# Not all engines run the check by themselves; that it is part of the image, and what it says, can be seen.
container image inspect --format '{{json .Config.Healthcheck}}' "$image" | grep -q healthcheck ||
  container image inspect --format '{{json .HealthCheck}}' "$image" | grep -q healthcheck ||
  fail "the image has no HEALTHCHECK"

began=$(date +%s)
step stop --time 15 "$name"
took=$(($(date +%s) - began))
code=$(container inspect --format '{{.State.ExitCode}}' "$name")
[ "$code" = 0 ] || fail "SIGTERM ended it with $code"
[ "$took" -le 10 ] || fail "it took $took s to stop"
container rm "$name" >/dev/null

# A new container finds the job in the volume.
container "${serve[@]}" >/dev/null
healthy
[ "$(container "${register[@]}")" = "registered 0, known 1, refused 0" ] || fail "the job is gone"
container kill --signal HUP "$name" >/dev/null
healthy
container logs "$name" 2>&1 | grep -q reload || fail "SIGHUP did not reach the exporter"
container stop --time 15 "$name" >/dev/null
# A signal is heeded from the first moment on.
for delay in 0.1 0.2 0.4 0.8; do
  container start "$name" >/dev/null
  sleep "$delay"
  container stop --time 15 "$name" >/dev/null
  code=$(container inspect --format '{{.State.ExitCode}}' "$name")
  # 143: SIGTERM ended it before it had begun to serve.
  case $code in 0 | 143) ;; *) fail "a stop $delay s after the start ended with $code" ;; esac
done

echo "OK: $image"
