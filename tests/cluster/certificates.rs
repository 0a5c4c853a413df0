//! Certificate files shared by several replicas.

use std::time::SystemTime;

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

/// A folder with `tls.crt`, `tls.key` and `ca.crt`, like cert-manager's Secrets.
pub struct Certificates {
    folder: tempfile::TempDir,
    /// The CA that clients trust.
    pub ca: String,
}

impl Certificates {
    /// Creates certificates for localhost and the Services.
    pub fn new() -> Result<Self> {
        let mut certificates = Self { folder: tempfile::tempdir()?, ca: String::new() };
        certificates.renew()?;
        Ok(certificates)
    }

    /// Replaces them by others from another CA.
    pub fn renew(&mut self) -> Result<()> {
        let mut ca = CertificateParams::new(Vec::new())?;
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate()?)?;
        let names = [
            "localhost",
            "127.0.0.1",
            "outrigger-webhook.outrigger-system.svc",
            "outrigger-conversion.outrigger-system.svc",
        ];
        let mut leaf = CertificateParams::new(names.map(str::to_owned))?;
        leaf.not_before = SystemTime::now().into();
        leaf.not_after = (SystemTime::now() + std::time::Duration::from_secs(24 * 60 * 60)).into();
        let key = KeyPair::generate()?;
        let folder = self.folder.path();
        std::fs::write(folder.join("tls.crt"), leaf.signed_by(&key, &ca)?.pem())?;
        std::fs::write(folder.join("tls.key"), key.serialize_pem())?;
        std::fs::write(folder.join("ca.crt"), ca.pem())?;
        self.ca = ca.pem();
        Ok(())
    }

    /// Returns the certificate as PEM.
    pub fn certificate(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.folder.path().join("tls.crt"))?)
    }

    /// Returns its key as PEM.
    pub fn key(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.folder.path().join("tls.key"))?)
    }

    /// Returns the arguments of a replica that uses them.
    pub fn arguments(&self) -> Vec<String> {
        vec![format!("--tls-dir={}", self.folder.path().display())]
    }
}
