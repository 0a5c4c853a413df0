//! Writes the objects of the MeshServices of `testbed/go/istio-routes/mesh`, which `make test-istio` checks with
//! Istio's own code.
//!
//! With `OUTRIGGER_WRITE=1` the files are rewritten.

use super::{Fake, said};
use crate::documents::to_yaml_stream;
use std::path::{Path, PathBuf};

#[test]
fn what_is_written_is_what_istio_was_asked_about() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testbed/go/istio-routes/mesh");
    let cases: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(cases.len() >= 4, "{cases:?}");
    for case in cases {
        let fake = Fake::of(&std::fs::read_to_string(case.join("given.yaml")).unwrap());
        let plan = fake.plan(0);
        let objects: Vec<_> = plan.objects.iter().map(|object| serde_json::to_value(object).unwrap()).collect();
        let told = said(&plan).iter().fold(String::new(), |before, told| before + "# " + told + "\n");
        let (file, now) = (case.join("written.yaml"), told + &to_yaml_stream(&objects));
        if std::env::var_os("OUTRIGGER_WRITE").is_some() {
            std::fs::write(&file, &now).unwrap();
        }
        let before = std::fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(before, now, "{}: OUTRIGGER_WRITE=1 writes it anew; then run `make test-istio`", file.display());
    }
}
