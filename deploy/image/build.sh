#!/usr/bin/env bash
# Builds the image:  deploy/image/build.sh
#
# IMAGE   its name; by default removit-exporter:VERSION
# WHEELS  a folder with the wheels that requirements.txt names, for a build without a network (podman only).
#         pip still checks their hashes. `pip download --require-hashes -r requirements.txt -d FOLDER` fills it.

source "$(dirname "$0")/engine.sh"

offline=()
if [ -n "${WHEELS:-}" ]; then
  settings=$(mktemp)
  trap 'rm -f "$settings"' EXIT
  printf '[global]\nno-index = true\nfind-links = /wheels\n' >"$settings"
  chmod a+r "$settings"
  offline=(--volume "$WHEELS:/wheels:ro" --volume "$settings:/etc/pip.conf:ro" --pull=never)
  [ "${engine[0]}" = podman ] && offline+=(--network=host)
fi
# The format "docker" keeps HEALTHCHECK, which podman's own format drops.
[ "${engine[0]}" = podman ] && offline+=(--format=docker)

revision=$(git -C "$root" rev-parse HEAD 2>/dev/null || echo unknown)
"${engine[@]}" build "${offline[@]}" \
  --build-arg "VERSION=$version" --build-arg "REVISION=$revision" --tag "$image" "$root"
"${engine[@]}" image inspect --format "$image {{.Size}} bytes" "$image"
