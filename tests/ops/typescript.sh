#!/usr/bin/env bash
# Compiles what openapi-typescript makes of docs/src/reference/openapi.json, and code that uses it.
#
#   tests/ops/typescript.sh
#
# Packages from npm stay in target/tools.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

tools=$PWD/target/tools/typescript
mkdir -p "$tools"
if ! cmp --silent tests/ops/typescript/package.json "$tools/package.json"; then
    cp tests/ops/typescript/package.json "$tools/"
    npm install --prefix "$tools" --no-fund --no-audit --no-package-lock --loglevel=error
fi
cp docs/src/reference/openapi.json tests/ops/typescript/uses.ts "$tools/"
cd "$tools"
npx --no-install openapi-typescript openapi.json --output api.ts
npx --no-install tsc --strict --noEmit --target es2022 --module nodenext api.ts uses.ts
