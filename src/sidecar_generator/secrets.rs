//! Secrets of a SidecarGenerator: credentials for its URL's server, and its CA.
//!
//! The author of a SidecarGenerator chooses both the Secret and its recipient. So a Secret is sent only to the hosts that it names
//! itself.

use super::answer::AnswerProblem;
use super::generator::{ObservedGenerator, UsableSpec};
use crate::api::keys;
use crate::cluster::describe;
use crate::fetch::{Authorization, Credentials, FetchTarget, Identity, Recipient, Trust};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};

/// A named Secret is unreadable or unusable.
pub const SECRET_UNUSABLE: &str = "SecretUnusable";

/// Reads the Secrets of a SidecarGenerator: trust and credentials. Each is read again every time, so that none is kept and a
/// change takes effect at once.
///
/// # Errors
/// When a Secret cannot be read, or lacks what is needed.
pub async fn read(
    client: &Client,
    generator: &ObservedGenerator,
    spec: &UsableSpec,
) -> Result<(Trust, Option<Credentials>), AnswerProblem> {
    let api = Api::namespaced(client.clone(), &generator.key.namespace);
    let mut trust = Trust { skip_verify: spec.skip_verify, ca_pem: None };
    if let Some((name, key)) = &spec.ca {
        trust.ca_pem = Some(ca(&get(&api, "spec.caSecretRef", name).await?, name, key)?);
    }
    let credentials = match &spec.credentials {
        Some(name) => Some(credentials(&get(&api, "spec.auth.secretRef", name).await?, name, &spec.url)?),
        None => None,
    };
    Ok((trust, credentials))
}

async fn get(api: &Api<Secret>, field: &str, name: &str) -> Result<Secret, AnswerProblem> {
    match api.get(name).await {
        Ok(secret) => Ok(secret),
        Err(kube::Error::Api(status)) if status.code == 404 => {
            Err(unusable(format!("{field}: there is no Secret {name:?} in this namespace")))
        }
        Err(kube::Error::Api(status)) if status.code == 403 => Err(unusable(format!(
            "{field}: outrigger may not read Secret {name:?}; this needs an additional permission, see \
             manifests/rbac/optional/sidecargenerator-secrets.yaml"
        ))),
        Err(error) => Err(unusable(format!("{field}: Secret {name:?} cannot be read: {}", describe(&error)))),
    }
}

/// Returns the CA in a Secret.
fn ca(secret: &Secret, name: &str, key: &str) -> Result<Vec<u8>, AnswerProblem> {
    let pem = value(secret, key).filter(|pem| !pem.is_empty());
    pem.map(<[u8]>::to_vec).ok_or_else(|| unusable(format!("spec.caSecretRef: Secret {name:?} has no {key:?}")))
}

/// Returns the credentials in a Secret, if they may be sent to this URL.
fn credentials(secret: &Secret, name: &str, target: &FetchTarget) -> Result<Credentials, AnswerProblem> {
    let wrong = |problem: &str| unusable(format!("spec.auth.secretRef: Secret {name:?} {problem}"));
    let pair = |one: &str, other: &str| match (value(secret, one), value(secret, other)) {
        (Some(one), Some(other)) => Ok(Some((one, other))),
        (None, None) => Ok(None),
        _ => Err(wrong(&format!("must have both {one:?} and {other:?}"))),
    };
    let authorization = match (value(secret, "token"), pair("username", "password")?) {
        (Some(_), Some(_)) => return Err(wrong("must have either \"token\" or \"username\" and \"password\"")),
        (Some(token), None) => {
            let token = std::str::from_utf8(token).map_err(|_| wrong("has a \"token\" that is not text"))?;
            Some(Authorization::bearer(token).map_err(|error| wrong(&format!("has an unusable \"token\": {error}")))?)
        }
        (None, Some((user, password))) => Some(Authorization::basic(user, password)),
        (None, None) => None,
    };
    let identity = pair("tls.crt", "tls.key")?
        .map(|(certificate, key)| Identity { certificate_pem: certificate.to_vec(), key_pem: key.to_vec() });
    if authorization.is_none() && identity.is_none() {
        return Err(wrong("has neither \"token\", nor \"username\" and \"password\", nor \"tls.crt\" and \"tls.key\""));
    }
    let named = secret.metadata.annotations.as_ref().and_then(|all| all.get(keys::SEND_TO)).map_or("", String::as_str);
    let hosts = named.split(',').map(str::trim).filter(|host| !host.is_empty());
    let recipients = hosts.map(str::parse).collect::<Result<Vec<Recipient>, _>>();
    let recipients = recipients.map_err(|error| wrong(&format!("has the annotation {}: {error}", keys::SEND_TO)))?;
    let credentials = Credentials { authorization, identity, recipients };
    if credentials.may_go_to(target) {
        return Ok(credentials);
    }
    let scheme = if target.is_https() { "" } else { "http://" };
    let host = format!("{scheme}{}:{}", target.host(), target.port());
    Err(wrong(&format!("does not allow sending it there: its owner must annotate it {}: {host}", keys::SEND_TO)))
}

fn value<'a>(secret: &'a Secret, key: &str) -> Option<&'a [u8]> {
    secret.data.as_ref()?.get(key).map(|value| value.0.as_slice())
}

fn unusable(message: String) -> AnswerProblem {
    AnswerProblem::new(SECRET_UNUSABLE, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::tests::server::{Server, served};
    use crate::sidecar_generator::tests::observed;
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;
    use serde_json::{Value, json};

    fn secret(send_to: Option<&str>, data: &[(&str, &str)]) -> Value {
        let data: Value = data
            .iter()
            .map(|(key, text)| ((*key).to_owned(), json!(BASE64_STANDARD.encode(text))))
            .collect::<serde_json::Map<_, _>>()
            .into();
        let annotations = send_to.map(|hosts| json!({keys::SEND_TO: hosts}));
        json!({"metadata": {"name": "s", "namespace": "default", "annotations": annotations}, "data": data})
    }

    /// Reads for a SidecarGenerator that names the Secret `s` for both purposes.
    async fn read_of(server: Server, spec: Value) -> Result<(Trust, Option<Credentials>), String> {
        let (_, client) = served(server);
        let generator = observed("g", &spec);
        let read = super::read(&client, &generator, generator.usable.as_ref().unwrap()).await;
        read.map_err(|problem| {
            assert_eq!(problem.reason, SECRET_UNUSABLE);
            assert!(!problem.message.contains("s3cret"), "{}", problem.message);
            problem.message
        })
    }

    async fn credentials_of(secret: Value) -> Result<Credentials, String> {
        let mut server = Server::default();
        server.put("/api/v1/namespaces/default/secrets/s", secret);
        let spec = json!({"url": "https://host:8443/x", "auth": {"secretRef": {"name": "s"}}});
        read_of(server, spec).await.map(|(_, credentials)| credentials.unwrap())
    }

    const HERE: Option<&str> = Some("other.example, host:8443");

    #[tokio::test]
    async fn a_secret_is_a_token_or_a_password_or_a_certificate() {
        let of = async |data: &[(&str, &str)]| {
            let Credentials { authorization, identity, .. } = credentials_of(secret(HERE, data)).await.unwrap();
            (authorization, identity.map(|identity| identity.certificate_pem))
        };
        let bearer = Authorization::bearer("s3cret").ok();
        assert_eq!(of(&[("token", "s3cret\n")]).await, (bearer.clone(), None));
        let basic = Some(Authorization::basic(b"u", b"s3cret"));
        assert_eq!(of(&[("username", "u"), ("password", "s3cret")]).await, (basic, None));
        let certificate = Some(b"pem".to_vec());
        assert_eq!(of(&[("tls.crt", "pem"), ("tls.key", "s3cret")]).await, (None, certificate.clone()));
        let both = [("token", "s3cret"), ("tls.crt", "pem"), ("tls.key", "s3cret")];
        assert_eq!(of(&both).await, (bearer, certificate));
    }

    #[tokio::test]
    async fn a_secret_goes_only_where_it_says_itself() {
        for (send_to, expected) in [
            (None, "annotate it outrigger.dev/send-to: host:8443"),
            (Some(""), "annotate it outrigger.dev/send-to: host:8443"),
            (Some("host"), "annotate it outrigger.dev/send-to: host:8443"),
            (Some("other.example"), "annotate it outrigger.dev/send-to: host:8443"),
            (Some("*"), "neither host nor host:port"),
        ] {
            let problem = credentials_of(secret(send_to, &[("token", "s3cret")])).await.unwrap_err();
            assert!(problem.contains(expected), "{send_to:?}: {problem}");
        }
    }

    #[tokio::test]
    async fn a_secret_of_no_use_is_told_without_what_is_in_it() {
        for (data, expected) in [
            (&[][..], "has neither \"token\""),
            (&[("other", "s3cret")], "has neither \"token\""),
            (&[("username", "s3cret")], "must have both \"username\" and \"password\""),
            (&[("tls.key", "s3cret")], "must have both \"tls.crt\" and \"tls.key\""),
            (&[("token", "s3cret"), ("username", "u"), ("password", "p")], "must have either"),
            (&[("token", "s3cret s3cret")], "unusable \"token\""),
        ] {
            let problem = credentials_of(secret(HERE, data)).await.unwrap_err();
            assert!(
                problem.starts_with("spec.auth.secretRef: Secret \"s\" ") && problem.contains(expected),
                "{problem}"
            );
        }
    }

    #[tokio::test]
    async fn a_ca_is_read_by_its_key() {
        let with = async |key: Option<&str>| {
            let mut server = Server::default();
            let two = secret(None, &[("ca.crt", "one"), ("other", "two"), ("empty", "")]);
            server.put("/api/v1/namespaces/default/secrets/s", two);
            let mut reference = json!({"name": "s"});
            if let Some(key) = key {
                reference["key"] = json!(key);
            }
            read_of(server, json!({"url": "https://h", "caSecretRef": reference, "insecureSkipTLSVerify": false})).await
        };
        assert_eq!(with(None).await.unwrap().0.ca_pem, Some(b"one".to_vec()));
        assert_eq!(with(Some("other")).await.unwrap().0.ca_pem, Some(b"two".to_vec()));
        for key in ["none", "empty"] {
            assert!(with(Some(key)).await.unwrap_err().contains(&format!("Secret \"s\" has no {key:?}")));
        }
    }

    #[tokio::test]
    async fn a_secret_that_cannot_be_read_is_told_with_what_to_do() {
        let spec = json!({"url": "https://h", "auth": {"secretRef": {"name": "s"}}});
        let missing = read_of(Server::default(), spec.clone()).await.unwrap_err();
        assert_eq!(missing, "spec.auth.secretRef: there is no Secret \"s\" in this namespace");
        let mut server = Server::default();
        server.refuses = Some("/api/v1/namespaces/default/secrets");
        let refused = read_of(server, spec).await.unwrap_err();
        assert!(refused.contains("manifests/rbac/optional/sidecargenerator-secrets.yaml"), "{refused}");
        let nothing = read_of(Server::default(), json!({"url": "https://h", "insecureSkipTLSVerify": true})).await;
        let (trust, credentials) = nothing.unwrap();
        assert!(trust.skip_verify && trust.ca_pem.is_none() && credentials.is_none());
    }
}
