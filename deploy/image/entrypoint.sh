#!/bin/sh
# Process 1 of the image: runs the command and hands signals on to it.
#
# The kernel drops a signal to process 1 that has no handler yet, and Python takes a moment to start. A
# container that is stopped in that moment would be killed only after its grace period. The shell has its
# handlers at once, and a command that is not process 1 can be ended at any time.

child=
stop() {
  stopped=yes
  [ -z "$child" ] || kill -TERM "$child"
}
stopped=
trap stop TERM INT
trap '[ -z "$child" ] || kill -HUP "$child"' HUP

removit-exporter "$@" <&0 &
child=$!
[ -z "$stopped" ] || kill -TERM "$child"

# A signal interrupts `wait`; the command has ended only when it cannot be signalled any more.
while :; do
  wait "$child"
  code=$?
  kill -0 "$child" 2>/dev/null || exit "$code"
done
