#!/bin/sh
# Make the vendored ES modules of the page from npm packages, exactly as pinned in package-lock.json.
# Only somebody who changes a version runs this; users and the tests take the file that is checked in.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
vendor="$here/../../src/hyperhive/edges/dashboard/static/vendor"
cd "$here"
npm ci --no-audit --no-fund
mkdir -p "$vendor"
bundle() {
  ./node_modules/.bin/esbuild "$1" --bundle --format=esm --target=es2022 --minify \
    --legal-comments=inline --charset=utf8 --outfile="$vendor/$2"
}
bundle entry.js preact.js
bundle diff_entry.js diff.js
{
  echo "The modules in this directory are built by tools/vendor_frontend/build.sh from these packages:"
  echo "preact.js from @preact/signals, @preact/signals-core, preact (MIT licence), htm (Apache licence 2.0);"
  echo "diff.js from diff (jsdiff, BSD 3-clause licence)."
  for package in preact @preact/signals @preact/signals-core htm diff; do
    echo
    echo "==== $package $(node -p "require('./node_modules/$package/package.json').version") ===="
    echo
    cat "node_modules/$package/LICENSE"
  done
} > "$vendor/LICENSES.txt"
(cd "$vendor" && sha256sum preact.js diff.js LICENSES.txt > SHA256SUMS)
cat "$vendor/SHA256SUMS"
