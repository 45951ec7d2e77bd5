#!/usr/bin/env bash
# Builds the book of docs/src in target/book. Exits non-zero when a page of its table of contents is missing.
# mdBook is installed into target/tools when it is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

mdbook_version=0.5.4

# Another version renders other pages.
is_current() {
    [[ $("$1" --version 2>/dev/null) == "mdbook v$mdbook_version" ]]
}

if is_current mdbook; then
    mdbook=mdbook
else
    mdbook=target/tools/bin/mdbook
    if ! is_current "$mdbook"; then
        # Unoptimised and without its web server and search index: it builds in two minutes, and the book in
        # half a second.
        CARGO_PROFILE_DEV_DEBUG=0 cargo install --quiet --locked --debug --no-default-features \
            --root target/tools "mdbook@$mdbook_version"
    fi
fi

rm -rf target/book
"$mdbook" build docs
