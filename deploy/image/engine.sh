# Sourced by the scripts next to it: sets `engine` to a container engine that works here.
#
# Docker is used where its daemon answers, and otherwise podman, which needs none (on Debian:
# apt-get install podman runc). IMAGE names the image, ENGINE another engine.

set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$root/pyproject.toml")
image=${IMAGE:-removit-exporter:$version}

if [ -n "${ENGINE:-}" ]; then
  read -ra engine <<<"$ENGINE"
elif docker info >/dev/null 2>&1; then
  engine=(docker)
elif command -v podman >/dev/null && command -v runc >/dev/null; then
  export CONTAINERS_CONF="${CONTAINERS_CONF:-$here/containers.conf}"
  # Works on every file system, at the price of copies.
  export STORAGE_DRIVER="${STORAGE_DRIVER:-vfs}"
  engine=(podman)
else
  echo "neither a Docker daemon nor podman with runc was found; on Debian: apt-get install podman runc" >&2
  exit 3
fi
