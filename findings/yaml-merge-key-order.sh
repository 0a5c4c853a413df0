#!/usr/bin/env bash
# The merge key of YAML 1.1 (https://yaml.org/type/merge.html): its entries are inserted "unless the key already exists". So what a
# mapping says itself wins, wherever the merge key stands in it.
#
# Seen in November 2026, for three mappings with `a: &a {v: merged}`:
# * sigs.k8s.io/yaml 1.6.0 (Go; kubectl's, helm's and the API server's reader): the later one wins. A merge key behind `v: own` turns it into
#   `v: merged`.
# * gopkg.in/yaml.v3 3.0.1 (Go), PyYAML 6.0.3 (Python), js-yaml 4.1.1 (JavaScript), serde-saphyr 2.1.1 (Rust): what the mapping says itself wins.
#
# So `kubectl apply` may create another object than the one that a linter, a policy check or a CI job in any other language has looked at.
set -euo pipefail

folder=$(mktemp -d)
trap 'chmod -R u+w "$folder"; rm -rf "$folder"' EXIT
cd "$folder"
cat > input.yaml <<'YAML'
a: &a {v: merged}
before: {<<: *a, v: own}
behind: {v: own, <<: *a}
list: {v: own, <<: [*a, {v: last}]}
YAML

mkdir -p go python js rust/src
cat > go/go.mod <<'GO'
module probe

go 1.24

require (
	gopkg.in/yaml.v3 v3.0.1
	sigs.k8s.io/yaml v1.6.0
)
GO
cat > go/main.go <<'GO'
package main

import (
	"fmt"
	"os"

	yamlv3 "gopkg.in/yaml.v3"
	"sigs.k8s.io/yaml"
)

type value = map[string]map[string]string

func show(name string, v value) {
	fmt.Println(name, v["before"]["v"], v["behind"]["v"], v["list"]["v"])
}

func main() {
	text, err := os.ReadFile("../input.yaml")
	if err != nil {
		panic(err)
	}
	var kubectl, v3 value
	if err := yaml.Unmarshal(text, &kubectl); err != nil {
		panic(err)
	}
	if err := yamlv3.Unmarshal(text, &v3); err != nil {
		panic(err)
	}
	show("sigs.k8s.io/yaml-1.6.0", kubectl)
	show("yaml.v3-3.0.1", v3)
}
GO
cat > rust/Cargo.toml <<'TOML'
[package]
name = "probe"
version = "0.0.0"
edition = "2024"
[dependencies]
serde-saphyr = "=2.1.1"
TOML
cat > rust/src/main.rs <<'RUST'
use std::collections::BTreeMap;

fn main() {
    let text = std::fs::read_to_string("../input.yaml").unwrap();
    let value: BTreeMap<String, BTreeMap<String, String>> = serde_saphyr::from_str(&text).unwrap();
    println!("serde-saphyr-2.1.1 {} {} {}", value["before"]["v"], value["behind"]["v"], value["list"]["v"]);
}
RUST
{
    (cd go && go mod tidy >&2 && go run .)
    python3 -m venv python >&2 && python/bin/pip install --quiet PyYAML==6.0.3 >&2
    python/bin/python - <<'PYTHON'
import yaml
value = yaml.safe_load(open("input.yaml"))
print("PyYAML-" + yaml.__version__, *(value[key]["v"] for key in ("before", "behind", "list")))
PYTHON
    (cd js && npm install --silent --no-audit --no-fund js-yaml@4.1.1 >&2 && node -e '
const value = require("js-yaml").load(require("fs").readFileSync("../input.yaml", "utf8"));
console.log("js-yaml-4.1.1", value.before.v, value.behind.v, value.list.v);')
    (cd rust && cargo run --quiet)
} | tee seen

diff seen - <<'EXPECTED'
sigs.k8s.io/yaml-1.6.0 own merged merged
yaml.v3-3.0.1 own own own
PyYAML-6.0.3 own own own
js-yaml-4.1.1 own own own
serde-saphyr-2.1.1 own own own
EXPECTED
echo "as in November 2026: only kubectl's reader lets a merge key replace what stands before it"
