//! The folders of images, and the Makefile targets that create them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use super::{path, read};

fn assemble(image: &str, folder: &Path) -> Output {
    Command::new(path("manifests/image/assemble.sh"))
        .args([Path::new(image), Path::new("/bin/true"), folder, Path::new("/bin/sh")])
        .output()
        .expect("it runs")
}

#[test]
fn an_image_has_its_program_its_user_and_roots_of_trust() {
    let dockerfile = read("Dockerfile");
    for (image, program, shell) in
        [("outrigger", "outrigger", false), ("sync", "outrigger", true), ("k8s-gsidecar", "k8s-gsidecar", true)]
    {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join(image);
        let assembled = assemble(image, &root);
        assert!(assembled.status.success(), "{}", String::from_utf8_lossy(&assembled.stderr));
        let described = outrigger_testbed::Image::of_stage(&dockerfile, image, &root).expect("a stage");
        assert_eq!(described.entrypoint[0], format!("/bin/{program}"));
        assert!(root.join("bin").join(program).is_file(), "{image}");
        assert_eq!(root.join("bin/sh").exists(), shell, "{image}");
        let users = fs::read_to_string(root.join("etc/passwd")).expect("users");
        assert!(users.contains(&format!(":{}:", described.user)), "{image}: {users}");
        assert!(fs::metadata(root.join("etc/ssl/certs/ca-certificates.crt")).expect("roots of trust").len() > 10_000);
        assert_eq!(fs::metadata(root.join("tmp")).expect("/tmp").permissions().mode() & 0o7777, 0o1777);
    }
}

#[test]
fn an_image_that_there_is_none_of_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = assemble("nonsense", &folder.path().join("root"));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && told.contains("no image nonsense"), "{told}");
}

#[test]
fn without_an_engine_the_command_is_told() {
    for (target, command) in [
        ("docker-build", "docker build --target outrigger --tag registry.example.com/o:v1 ."),
        ("docker-push", "docker push registry.example.com/o:v1"),
        (
            "docker-buildx",
            "docker buildx build --platform linux/amd64,linux/arm64 --target outrigger --tag registry.example.com/o:v1 --push .",
        ),
    ] {
        let output = Command::new("make")
            .args(["--no-print-directory", target, "IMG=registry.example.com/o:v1", "DOCKER=no-such-engine"])
            .current_dir(path(""))
            .output()
            .expect("make runs");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && told.contains(&command.replace("docker ", "no-such-engine ")), "{told}");
    }
}
