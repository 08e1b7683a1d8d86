#!/usr/bin/env bash
# Makes a stand-in for the base image python:3.13-slim out of Debian's packages and a Python 3.13 of this
# machine, where no image registry can be reached:  deploy/image/base.sh
#
# It is for trying the Dockerfile, and not for production: the Python is the machine's own build. It needs
# root, debootstrap, and PYTHON, a Python 3.13 (by default python3.13).

source "$(dirname "$0")/engine.sh"

python=${PYTHON:-python3.13}
base=$(mktemp -d)
trap 'rm -rf "$base"' EXIT
prefix=$("$python" -c 'import sys; print(sys.base_prefix)')
suite=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)

debootstrap --variant=minbase "$suite" "$base"
rm -rf "$base"/var/cache/apt/* "$base"/var/lib/apt/lists/* "$base"/usr/share/{doc,man,locale}
tar -C "$prefix" -c --exclude=__pycache__ --exclude=test --exclude='config-3.13*' --exclude='*.a' \
  --exclude=site-packages --exclude=tkinter --exclude=idlelib --exclude=turtledemo --exclude='_tkinter*' \
  bin/python3.13 lib/python3.13 $(cd "$prefix" && ls -d lib/libpython3.13.so.1.0 2>/dev/null) |
  tar -C "$base/usr/local" -x
ln -sf python3.13 "$base/usr/local/bin/python3"
ln -sf python3.13 "$base/usr/local/bin/python"
# The libraries that this Python was linked with, where Debian's minimum lacks them.
find "$base/usr/local" -name '*.so*' -exec ldd {} + 2>/dev/null | awk '/=> \//{print $3}' | sort -u |
  while read -r library; do
    case $library in "$prefix"/*) continue ;; esac
    [ -e "$base$library" ] || install -D "$library" "$base$library"
  done
chroot "$base" /sbin/ldconfig
tar -C "$base" -c . | "${engine[@]}" import --change 'ENV PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
  --change 'CMD ["python3"]' - docker.io/library/python:3.13-slim
