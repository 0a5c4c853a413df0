//! `--certificates`: the source of the server's certificate, and how the API server comes to trust it.

use crate::admission::authority::Times;
use crate::admission::certificate::LOCAL_NAMES;
use crate::admission::registration::{Registration, SERVICE};
use crate::admission::{CertificatePair, ServingCertificate, reload};
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// Flags about certificates.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Certificates")]
pub(in crate::cli) struct CertificateFlags {
    /// Where the certificate comes from [default: files with --tls-dir, else self-managed. With --from and without --tls-dir
    /// a certificate is created at start]
    #[arg(long, value_enum, value_name = "MODE")]
    pub certificates: Option<Mode>,
    /// Folder with tls.crt and tls.key. It is read again every 10 s
    #[arg(long, value_name = "DIR")]
    pub tls_dir: Option<PathBuf>,
    /// Additional name or address in the certificate, if outrigger signs it. May be given several times
    #[arg(long = "tls-name", value_name = "NAME", conflicts_with = "tls_dir")]
    pub tls_names: Vec<String>,
    /// Write the CA of the certificate created at start to this file, so that clients can trust it
    #[arg(long, value_name = "FILE", requires = "from", conflicts_with = "tls_dir")]
    pub ca_out: Option<PathBuf>,
    /// CA certificates for the API server to trust, in PEM. The file is read again when it changes [default: ca.crt in
    /// --tls-dir]
    #[arg(long, value_name = "FILE", requires = "tls_dir")]
    pub ca_file: Option<PathBuf>,
    /// CA certificates for clients, in PEM. Clients without a certificate signed by one of them are refused, except for
    /// conversion. The API server must be configured to present one. The file is read again when it changes
    #[arg(long, value_name = "FILE")]
    pub client_ca_file: Option<PathBuf>,
    /// With cert-manager: name of the Certificate whose Secret is in --tls-dir, in outrigger's namespace
    #[arg(long, value_name = "NAME", default_value = SERVICE)]
    pub certificate: String,
    /// Lives of CA and leaf, and the grace time of a switch, in seconds: for tests of renewals
    #[arg(long, value_name = "CA,LEAF,GRACE", value_parser = times, hide = true)]
    pub certificate_times: Option<Times>,
}

/// Where the certificate comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(in crate::cli) enum Mode {
    /// Outrigger keeps a CA in a Secret, and each replica signs its own certificate
    SelfManaged,
    /// The Secret of a Certificate in --tls-dir; cert-manager writes the CA into the webhook configurations
    CertManager,
    /// The files of --tls-dir and --ca-file
    Files,
}

/// The mode with its settings.
#[derive(Debug)]
pub(in crate::cli) enum Source {
    /// Created at start for this process.
    Made,
    SelfManaged(Times),
    CertManager(PathBuf),
    Files(PathBuf),
}

fn times(text: &str) -> Result<Times, String> {
    let seconds =
        text.split(',').map(str::parse).collect::<Result<Vec<u64>, _>>().map_err(|error| error.to_string())?;
    match seconds.into_iter().map(Duration::from_secs).collect::<Vec<_>>()[..] {
        [authority, leaf, grace] if grace < leaf && leaf < authority => Ok(Times { authority, leaf, grace }),
        _ => Err("must be three numbers CA,LEAF,GRACE, each smaller than the one before".to_owned()),
    }
}

impl CertificateFlags {
    pub fn source(&self, in_a_cluster: bool) -> Result<Source> {
        Ok(match (self.certificates, &self.tls_dir) {
            (Some(Mode::SelfManaged | Mode::CertManager), _) if !in_a_cluster => {
                bail!("--certificates: self-managed and cert-manager need a cluster, and --from serves without one")
            }
            (Some(Mode::SelfManaged), Some(_)) => {
                bail!("--certificates self-managed: outrigger signs the certificate itself, leave --tls-dir out")
            }
            (Some(Mode::Files | Mode::CertManager), None) => {
                bail!("--certificates: --tls-dir is needed, the folder with tls.crt and tls.key")
            }
            (Some(Mode::CertManager), Some(_)) if self.ca_file.is_some() => {
                bail!(
                    "--certificates cert-manager: cert-manager tells the API server whom to trust, leave --ca-file out"
                )
            }
            (Some(Mode::CertManager), Some(folder)) => Source::CertManager(folder.clone()),
            (Some(Mode::Files) | None, Some(folder)) => Source::Files(folder.clone()),
            (None, None) if !in_a_cluster => Source::Made,
            (Some(Mode::SelfManaged) | None, None) => Source::SelfManaged(self.certificate_times.unwrap_or_default()),
        })
    }

    /// Returns names and addresses of this server on its own machine.
    pub fn names(&self, listen: Option<SocketAddr>) -> BTreeSet<String> {
        let listen = listen.map(|listen| listen.ip()).filter(|ip| !ip.is_unspecified()).map(|ip| ip.to_string());
        LOCAL_NAMES.iter().map(ToString::to_string).chain(listen).chain(self.tls_names.iter().cloned()).collect()
    }

    /// Returns the cert-manager Certificate whose CA is to be trusted.
    pub fn certificate(&self, namespace: &str) -> String {
        format!("{namespace}/{}", self.certificate)
    }
}

impl Source {
    /// Returns the folder that is read repeatedly.
    pub fn folder(&self) -> Option<PathBuf> {
        match self {
            Self::CertManager(folder) | Self::Files(folder) => Some(folder.clone()),
            Self::Made | Self::SelfManaged(_) => None,
        }
    }

    /// Returns the certificate used from the start; `None` if the cluster must be asked first.
    pub fn first(&self, names: &BTreeSet<String>) -> Result<ServingCertificate> {
        Ok(match self {
            Self::CertManager(folder) | Self::Files(folder) => {
                ServingCertificate::new(CertificatePair::from_dir(folder).context("--tls-dir")?)
            }
            Self::Made => {
                let names: Vec<_> = names.iter().map(String::as_str).collect();
                ServingCertificate::new(CertificatePair::generate(&names, SystemTime::now())?)
            }
            Self::SelfManaged(_) => ServingCertificate::default(),
        })
    }
}

/// The file with the CA for the API server.
pub(super) struct CaFile(PathBuf);

impl CaFile {
    pub fn of(flags: &CertificateFlags, folder: &std::path::Path) -> Self {
        Self(flags.ca_file.clone().unwrap_or_else(|| folder.join("ca.crt")))
    }

    pub fn read(&self) -> Result<String> {
        let file = self.0.display();
        let pem = std::fs::read_to_string(&self.0)
            .with_context(|| format!("--ca-file: cannot read {file}, by which the API server is to trust tls.crt"))?;
        if !pem.contains("-----BEGIN CERTIFICATE-----") {
            bail!("--ca-file: {file} holds no certificate in PEM");
        }
        Ok(pem)
    }

    /// Reads the file repeatedly. Its last good content stays registered.
    pub async fn keep_registered(self, registration: tokio::sync::watch::Sender<Registration>) {
        let mut ticks = tokio::time::interval(reload::PERIOD);
        let mut last_problem = None;
        loop {
            ticks.tick().await;
            let problem = match self.read() {
                Ok(pem) => {
                    registration.send_if_modified(|registration| {
                        let changed = registration.ca_bundle.as_ref() != Some(&pem);
                        registration.ca_bundle = Some(pem);
                        changed
                    });
                    None
                }
                Err(error) => Some(format!("{error:#}")),
            };
            if let Some(problem) = problem.as_ref().filter(|problem| last_problem.as_ref() != Some(*problem)) {
                tracing::error!(problem, "the certificates to trust cannot be read; the current ones stay registered");
            }
            last_problem = problem;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::registration::CONVERSION_SERVICE;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[arg(long)]
        from: Option<PathBuf>,
        #[command(flatten)]
        flags: CertificateFlags,
    }

    fn source(args: &[&str]) -> Result<Source, String> {
        let line = Line::try_parse_from(["serve"].iter().chain(args)).map_err(|error| error.to_string())?;
        line.flags.source(line.from.is_none()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_mode_follows_from_what_is_given() {
        assert!(matches!(source(&[]), Ok(Source::SelfManaged(times)) if times == Times::default()));
        assert!(matches!(source(&["--tls-dir=t"]), Ok(Source::Files(_))));
        assert!(matches!(source(&["--from=f"]), Ok(Source::Made)));
        assert!(matches!(source(&["--from=f", "--tls-dir=t"]), Ok(Source::Files(_))));
        assert!(matches!(source(&["--certificates=cert-manager", "--tls-dir=t"]), Ok(Source::CertManager(_))));
        assert!(matches!(source(&["--certificates=files", "--tls-dir=t", "--ca-file=c"]), Ok(Source::Files(_))));
    }

    #[test]
    fn flags_that_do_not_go_together_are_refused_by_name() {
        for (args, flag) in [
            (&["--certificates=self-managed", "--tls-dir=t"][..], "--tls-dir"),
            (&["--certificates=cert-manager"], "--tls-dir"),
            (&["--certificates=files"], "--tls-dir"),
            (&["--certificates=cert-manager", "--tls-dir=t", "--ca-file=c"], "--ca-file"),
            (&["--certificates=self-managed", "--from=f"], "--from"),
            (&["--certificates=cert-manager", "--from=f", "--tls-dir=t"], "--from"),
            (&["--ca-out=c"], "--from"),
            (&["--certificate-times=10,20,1"], "each smaller"),
        ] {
            let error = source(args).expect_err(flag);
            assert!(error.contains(flag), "{args:?}: {error}");
        }
    }

    #[test]
    fn the_times_for_tests_are_read() {
        let seconds = Duration::from_secs;
        let times = Times { authority: seconds(60), leaf: seconds(12), grace: seconds(2) };
        assert!(matches!(source(&["--certificate-times=60,12,2"]), Ok(Source::SelfManaged(read)) if read == times));
    }

    #[test]
    fn the_certificate_for_cert_manager_has_the_names_by_which_the_webhooks_are_called() {
        let file =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/certs/cert-manager.yaml")).expect("it");
        for service in [SERVICE, CONVERSION_SERVICE] {
            assert!(file.contains(&format!("- {service}.outrigger-system.svc\n")), "{service}");
        }
        assert!(file.contains(&format!("kind: Certificate\nmetadata:\n  name: {SERVICE}\n")));
    }
}
