#!/bin/sh
# Deploys a tar of the project: unpacked beside what is there, then put in its place. The executor
# believes the file RELEASED, so that is written last.
set -eu
rm -rf "$TARGET/next"
mkdir "$TARGET/next"
tar --no-same-owner -xf "$ARTIFACT" -C "$TARGET/next"
rm -rf "$TARGET/tally"
mv "$TARGET/next" "$TARGET/tally"
echo "$VERSION" > "$TARGET/RELEASED"
