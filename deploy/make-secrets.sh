#!/bin/sh
# Makes the stack's secrets: random ones, in files that git does not see. Those that are there stay.
set -eu

cd "$(dirname "$0")"
mkdir -p secrets
# The folder keeps others of this machine out. The files are readable because each container reads
# them as a user of its own, and Compose gives them to it as they are.
chmod 700 secrets
for name in server_secret backend_secret admin_token grafana_password; do
    [ -s "secrets/$name" ] && continue
    od -A n -t x1 -N 24 /dev/urandom | tr -d ' \n' >"secrets/$name"
    chmod 644 "secrets/$name"
    echo "made deploy/secrets/$name"
done
