#!/usr/bin/env bash
# Installs the XMPP servers (and Prometheus, a Perl client library and a browser) that some tests
# use, where that can be done without asking: as root or with passwordless sudo, with apt-get.
# Where it cannot, says what is missing and ends well: those tests are then skipped.
set -eu

cd "$(dirname "${BASH_SOURCE[0]}")/.."
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
log=build/install-servers.log
policy=/usr/sbin/policy-rc.d
saved=$policy.before-xmpp-balancer

missing_packages() {
    command -v prosody >/dev/null || echo prosody
    command -v ejabberdctl >/dev/null || echo ejabberd
    command -v chromium >/dev/null || echo chromium fonts-dejavu-core
    command -v prometheus >/dev/null && command -v promtool >/dev/null || echo prometheus
    perl -MAnyEvent::XMPP -e 1 >/dev/null 2>&1 || echo libanyevent-xmpp-perl
}

complain() {
    {
        echo "************************************************************************"
        echo "MISSING: $(echo $(missing_packages))"
        echo "$1"
        echo "The tests that need them will be skipped. By hand, on Debian or Ubuntu:"
        echo "    apt-get install --no-install-recommends $(echo $(missing_packages))"
        echo "************************************************************************"
    } >&2
    exit 0
}

missing=$(missing_packages)
[ -n "$missing" ] || exit 0

command -v apt-get >/dev/null || complain "There is no apt-get here to install them with."
as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null || ! sudo -n true 2>/dev/null; then
        complain "Installing them takes root, or sudo without a password."
    fi
    as_root=(sudo -n)
fi

# The packages would start their servers; the tests start their own. A policy-rc.d
# that forbids it stands for as long as the install takes, and what was there before
# comes back.
policy_placed=
restore_policy() {
    [ -n "$policy_placed" ] || return 0
    policy_placed=
    "${as_root[@]}" rm -f "$policy"
    if [ -e "$saved" ] || [ -L "$saved" ]; then
        "${as_root[@]}" mv -f "$saved" "$policy"
    fi
}
trap restore_policy EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

place_policy() {
    if [ -e "$policy" ] || [ -L "$policy" ]; then
        [ -e "$saved" ] || [ -L "$saved" ] || "${as_root[@]}" mv "$policy" "$saved"
    fi
    policy_placed=yes
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
    "${as_root[@]}" chmod 755 "$policy"
}

install_packages() {
    local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get
        -o DPkg::Lock::Timeout=120)
    "${apt[@]}" update || echo "apt-get update failed; trying with the lists there are"
    # shellcheck disable=SC2086 # one word a package
    "${apt[@]}" install -y --no-install-recommends $missing
}

mkdir -p build
echo "installing $(echo $missing) (log: $log)"
place_policy
if install_packages >"$log" 2>&1 </dev/null; then
    restore_policy
    [ -z "$(missing_packages)" ] || complain "They were installed, but are still not found; see $log."
    echo "installed $(echo $missing)"
else
    restore_policy
    tail -n 60 "$log" >&2
    complain "The install failed; the end of its log ($log) is above."
fi
