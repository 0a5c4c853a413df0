//! Secrets that a SidecarGenerator names: credentials for its URL's server, and the CA of that.
//!
//! Whoever may write a SidecarGenerator chooses both the Secret and where it is sent. So a Secret is sent only to the hosts that it
//! names itself.

use super::answer::Problem;
use super::generator::{ObservedGenerator, UsableSpec};
use crate::api::keys;
use crate::cluster::describe;
use crate::fetch::{Authorization, Credentials, Identity, Recipient, Target, Trust};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};

/// A Secret that is named cannot be read, or not be used.
pub const SECRET_UNUSABLE: &str = "SecretUnusable";

/// Reads what a SidecarGenerator names: whom to trust, and what to prove oneself with. Each Secret is read anew each time, so that
/// none is kept and a changed one counts at once.
///
/// # Errors
/// When a Secret cannot be read, or has not what is needed.
pub async fn read(
    client: &Client,
    generator: &ObservedGenerator,
    spec: &UsableSpec,
) -> Result<(Trust, Option<Credentials>), Problem> {
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

async fn get(api: &Api<Secret>, field: &str, name: &str) -> Result<Secret, Problem> {
    match api.get_opt(name).await {
        Ok(Some(secret)) => Ok(secret),
        Ok(None) => Err(unusable(format!("{field}: there is no Secret {name:?} in this namespace"))),
        Err(kube::Error::Api(status)) if status.code == 403 => Err(unusable(format!(
            "{field}: outrigger may not read Secret {name:?}; that is a right of its own, see \
             manifests/rbac/optional/sidecargenerator-secrets.yaml"
        ))),
        Err(error) => Err(unusable(format!("{field}: Secret {name:?} cannot be read: {}", describe(&error)))),
    }
}

/// The CA in a Secret.
fn ca(secret: &Secret, name: &str, key: &str) -> Result<Vec<u8>, Problem> {
    let pem = value(secret, key).filter(|pem| !pem.is_empty());
    pem.map(<[u8]>::to_vec).ok_or_else(|| unusable(format!("spec.caSecretRef: Secret {name:?} has no {key:?}")))
}

/// The credentials in a Secret, if they may be sent to this URL.
fn credentials(secret: &Secret, name: &str, target: &Target) -> Result<Credentials, Problem> {
    let wrong = |problem: &str| unusable(format!("spec.auth.secretRef: Secret {name:?} {problem}"));
    let pair = |one: &str, other: &str| match (value(secret, one), value(secret, other)) {
        (Some(one), Some(other)) => Ok(Some((one, other))),
        (None, None) => Ok(None),
        _ => Err(wrong(&format!("must have both {one:?} and {other:?}"))),
    };
    let authorization = match (value(secret, "token"), pair("username", "password")?) {
        (Some(_), Some(_)) => return Err(wrong("must have either \"token\" or \"username\" and \"password\"")),
        (Some(token), None) => {
            let token = std::str::from_utf8(token).map_err(|_| wrong("has a \"token\" that is no text"))?;
            Some(Authorization::bearer(token).map_err(|error| wrong(&format!("has a \"token\" of no use: {error}")))?)
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
    let host = format!("{}:{}", target.host(), target.port());
    Err(wrong(&format!(
        "does not say that it may be sent there: whoever owns it would have to annotate it {}: {host}",
        keys::SEND_TO
    )))
}

fn value<'a>(secret: &'a Secret, key: &str) -> Option<&'a [u8]> {
    secret.data.as_ref()?.get(key).map(|value| value.0.as_slice())
}

fn unusable(message: String) -> Problem {
    Problem::new(SECRET_UNUSABLE, message)
}
