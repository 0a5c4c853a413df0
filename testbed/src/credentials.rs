//! Keys, certificates and tokens of a control plane, and its kubeconfig files.

use std::{
    fs,
    hash::{BuildHasher, RandomState},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::json;

/// Names under which clients reach the API server.
const SERVER_NAMES: &[&str] = &["localhost", "127.0.0.1", "kubernetes.default.svc"];

/// Their files, and the API server's address.
#[derive(Debug)]
pub(crate) struct Credentials {
    folder: PathBuf,
    pub(crate) ca: PathBuf,
    pub(crate) server_certificate: PathBuf,
    pub(crate) server_key: PathBuf,
    pub(crate) service_account_key: PathBuf,
    pub(crate) service_account_public_key: PathBuf,
    pub(crate) tokens: PathBuf,
    pub(crate) kubeconfig: PathBuf,
    pub(crate) port: u16,
}

impl Credentials {
    /// Creates them in the folder, for an API server on this port of 127.0.0.1.
    pub(crate) fn write(folder: &Path, port: u16) -> Result<Self> {
        let file = |name: &str, text: &str| {
            let path = folder.join(name);
            fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))?;
            anyhow::Ok(path)
        };

        let mut ca = CertificateParams::new(Vec::new())?;
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate()?)?;
        let server_key = KeyPair::generate()?;
        let names: Vec<_> = SERVER_NAMES.iter().map(ToString::to_string).collect();
        let server = CertificateParams::new(names)?.signed_by(&server_key, &ca)?;
        let accounts = KeyPair::generate()?;
        let token = secret();

        let mut credentials = Self {
            folder: folder.to_owned(),
            ca: file("ca.crt", &ca.pem())?,
            server_certificate: file("server.crt", &server.pem())?,
            server_key: file("server.key", &server_key.serialize_pem())?,
            service_account_key: file("service-account.key", &accounts.serialize_pem())?,
            service_account_public_key: file("service-account.pub", &accounts.public_key_pem())?,
            tokens: file("tokens.csv", &format!("{token},admin,admin,system:masters\n"))?,
            kubeconfig: PathBuf::new(),
            port,
        };
        credentials.kubeconfig = credentials.write_kubeconfig("admin", &token)?;
        Ok(credentials)
    }

    /// Writes the kubeconfig of the user with this token, and returns its path.
    pub(crate) fn write_kubeconfig(&self, user: &str, token: &str) -> Result<PathBuf> {
        let path = self.folder.join(format!("{user}.kubeconfig"));
        let kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{
                "name": "testbed",
                "cluster": {"server": format!("https://127.0.0.1:{}", self.port), "certificate-authority": self.ca},
            }],
            "users": [{"name": user, "user": {"token": token}}],
            "contexts": [{"name": "testbed", "context": {"cluster": "testbed", "user": user}}],
            "current-context": "testbed",
        });
        fs::write(&path, format!("{kubeconfig:#}\n"))
            .with_context(|| format!("{} cannot be written", path.display()))?;
        Ok(path)
    }
}

/// Returns 128 unpredictable bits: std seeds its hashers from the system's randomness.
fn secret() -> String {
    let half = || RandomState::new().hash_one(());
    format!("{:016x}{:016x}", half(), half())
}
