#!/bin/sh
# Make the one vendored ES module of the page from npm packages, exactly as pinned in package-lock.json.
# Only somebody who changes a version runs this; users and the tests take the file that is checked in.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
vendor="$here/../../src/hyperhive/edges/dashboard/static/vendor"
cd "$here"
npm ci --no-audit --no-fund
mkdir -p "$vendor"
./node_modules/.bin/esbuild entry.js --bundle --format=esm --target=es2022 --minify \
  --legal-comments=inline --charset=utf8 --outfile="$vendor/preact.js"
{
  echo "preact.js in this directory is built by tools/vendor_frontend/build.sh from these packages:"
  echo "@preact/signals and @preact/signals-core, preact (MIT licence), htm (Apache licence 2.0)."
  for package in preact @preact/signals @preact/signals-core htm; do
    echo
    echo "==== $package $(node -p "require('./node_modules/$package/package.json').version") ===="
    echo
    cat "node_modules/$package/LICENSE"
  done
} > "$vendor/LICENSES.txt"
(cd "$vendor" && sha256sum preact.js LICENSES.txt > SHA256SUMS)
cat "$vendor/SHA256SUMS"
