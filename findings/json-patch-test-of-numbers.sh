#!/usr/bin/env bash
# RFC 6902, section 4.6: in a `test`, numbers "are considered equal if their values are numerically equal". So 30 is 30.0.
#
# Seen in November 2026, for a document {"weight": A} and the patch [{"op": "test", "path": "/weight", "value": B}]:
# * json-patch 4.2.0 (Rust): 30 is not 30.0 and not 30e0 (serde_json keeps integers and floats apart), 1.10 is 1.1.
# * gopkg.in/evanphx/json-patch.v4 4.13.0 (Go; the one in Kubernetes' API server): compares the texts, so 1.10 is not 1.1 either.
# * jsonpatch 1.33 (Python): compares values, integers exactly.
# * fast-json-patch 3.1.1 (JavaScript): compares doubles, so 9007199254740993 is 9007199254740992.
#
# A patch that tests a number may therefore hold in a program's own tests and fail in the API server.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
export pairs='[["30","30.0"],["30","30e0"],["1.10","1.1"],["9007199254740993","9007199254740992"]]'

mkdir -p rust/src go
cat > rust/Cargo.toml <<'TOML'
[package]
name = "probe"
version = "0.0.0"
edition = "2021"
[dependencies]
json-patch = { version = "=4.2.0", default-features = false }
serde_json = "=1.0.154"
TOML
cat > rust/src/main.rs <<'RUST'
fn main() {
    let pairs: Vec<[String; 2]> = serde_json::from_str(&std::env::var("pairs").unwrap()).unwrap();
    for [weight, value] in pairs {
        let mut document = serde_json::from_str(&format!(r#"{{"weight":{weight}}}"#)).unwrap();
        let patch: json_patch::Patch =
            serde_json::from_str(&format!(r#"[{{"op":"test","path":"/weight","value":{value}}}]"#)).unwrap();
        print!(" {}", if json_patch::patch(&mut document, &patch).is_ok() { "equal" } else { "different" });
    }
}
RUST
cat > go/go.mod <<'GO'
module probe

go 1.24

require gopkg.in/evanphx/json-patch.v4 v4.13.0
GO
cat > go/main.go <<'GO'
package main

import (
	"encoding/json"
	"fmt"
	"os"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
)

func main() {
	var pairs [][2]string
	if err := json.Unmarshal([]byte(os.Getenv("pairs")), &pairs); err != nil {
		panic(err)
	}
	for _, pair := range pairs {
		patch, err := jsonpatch.DecodePatch([]byte(`[{"op":"test","path":"/weight","value":` + pair[1] + `}]`))
		if err != nil {
			panic(err)
		}
		if _, err = patch.Apply([]byte(`{"weight":` + pair[0] + `}`)); err == nil {
			fmt.Print(" equal")
		} else {
			fmt.Print(" different")
		}
	}
}
GO
cat > probe.py <<'PYTHON'
import json, os, jsonpatch

for weight, value in json.loads(os.environ["pairs"]):
    patch = json.loads('[{"op":"test","path":"/weight","value":%s}]' % value)
    try:
        jsonpatch.apply_patch(json.loads('{"weight":%s}' % weight), patch)
        print(" equal", end="")
    except jsonpatch.JsonPatchTestFailed:
        print(" different", end="")
PYTHON
cat > probe.cjs <<'JS'
const { applyPatch } = require("fast-json-patch");
for (const [weight, value] of JSON.parse(process.env.pairs)) {
  const patch = JSON.parse(`[{"op":"test","path":"/weight","value":${value}}]`);
  try {
    applyPatch(JSON.parse(`{"weight":${weight}}`), patch);
    process.stdout.write(" equal");
  } catch (error) {
    if (error.name !== "TEST_OPERATION_FAILED") throw error;
    process.stdout.write(" different");
  }
}
JS

(cd go && GOFLAGS=-mod=mod go mod tidy >&2)
python3 -m venv python && python/bin/pip --quiet --disable-pip-version-check install jsonpatch==1.33
npm install --silent --no-fund --no-audit fast-json-patch@3.1.1 >&2

seen=$(
  echo "pairs: 30/30.0 30/30e0 1.10/1.1 9007199254740993/9007199254740992"
  echo "json-patch 4.2.0 (Rust):$(cd rust && CARGO_TARGET_DIR="$folder/target" cargo run --quiet)"
  echo "evanphx/json-patch.v4 4.13.0 (Go):$(cd go && go run .)"
  echo "jsonpatch 1.33 (Python):$(python/bin/python probe.py)"
  echo "fast-json-patch 3.1.1 (JavaScript):$(node probe.cjs)"
)
expected='pairs: 30/30.0 30/30e0 1.10/1.1 9007199254740993/9007199254740992
json-patch 4.2.0 (Rust): different different equal different
evanphx/json-patch.v4 4.13.0 (Go): different different different different
jsonpatch 1.33 (Python): equal equal equal different
fast-json-patch 3.1.1 (JavaScript): equal equal equal equal'
echo "$seen"
if [ "$seen" != "$expected" ]; then
  echo "this has changed; it was:" >&2
  echo "$expected" >&2
  exit 1
fi
