#!/usr/bin/env bash
# The console, the demo's playground and push, in a real browser.
#
#   tests/browser/check.sh HIGHWATER SERVER_BIN_DIR [README_PICTURE]
#
# HIGHWATER is the program, SERVER_BIN_DIR holds PostgreSQL's (psql must be in the PATH); README_PICTURE is where to put a picture of
# the console. Chromium (or what CHROMIUM names), where it is missing, is installed (as root, by apt-get). Packages from npm and PyPI
# stay in target/tools, pictures in target/console. Everything started here listens on the loopback
# interface only, and is ended.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

usage='usage: tests/browser/check.sh HIGHWATER SERVER_BIN_DIR [README_PICTURE]'
highwater=$(realpath "${1:?$usage}")
server_bin=$(realpath "${2:?$usage}")
picture=${3:+$(realpath "$3")}
tools=$PWD/target/tools/browser
pictures=$PWD/target/console
fixtures=$PWD/tests/fixtures
python_packages=(requests==2.34.2 sseclient-py==1.9.0 websockets==17.4)

CHROMIUM=${CHROMIUM:-$(command -v chromium || command -v google-chrome || true)}
if [[ -z $CHROMIUM ]]; then
    apt-get update --quiet
    DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends chromium
    CHROMIUM=$(command -v chromium)
fi
export CHROMIUM
mkdir -p "$tools" "$pictures"
if ! cmp --silent tests/browser/package.json "$tools/package.json"; then
    cp tests/browser/package.json "$tools/"
    npm install --prefix "$tools" --no-fund --no-audit --no-package-lock --loglevel=error
fi
if ! [[ -x $tools/python/bin/python ]]; then
    python3 -m venv "$tools/python"
    "$tools/python/bin/pip" install --quiet --disable-pip-version-check "${python_packages[@]}"
fi
# Modules find their packages from where they lie.
cp tests/browser/*.mjs tests/browser/client.py "$tools/"

cd "$tools"
node console.mjs "$highwater" "$pictures" ${picture:+"$picture"}
"$fixtures/with_server.sh" "$server_bin" node push.mjs "$highwater" "$tools/python/bin/python"
