//! The certificate of a Secret, as a Gateway would serve it. The certificate itself and its key are not kept.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The part of a Secret that the checks use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Secret {
    /// When its certificate is valid, in seconds since 1970; or why a Gateway cannot serve it.
    pub certificate: Result<(i64, i64), &'static str>,
}

/// The keys where Istio looks for a certificate and its key.
const KEYS: [(&str, &str); 2] = [("cert", "key"), ("tls.crt", "tls.key")];

impl Secret {
    pub fn read(object: &Value) -> Self {
        Self { certificate: certificate(object) }
    }
}

fn certificate(object: &Value) -> Result<(i64, i64), &'static str> {
    let missing = "has neither tls.crt and tls.key nor cert and key";
    let pair = KEYS.iter().find_map(|(certificate, key)| Some((data(object, certificate)?, data(object, key)?)));
    let (chain, key) = pair.ok_or(missing)?;
    let key = pem::parse(key).map_err(|_| "has a private key that is not PEM")?;
    if !key.tag().ends_with("PRIVATE KEY") {
        return Err("has a private key that is none");
    }
    let chain = pem::parse_many(chain).map_err(|_| "has a certificate that is not PEM")?;
    let first = chain.first().ok_or("has a certificate that is not PEM")?;
    let (_, read) = X509Certificate::from_der(first.contents()).map_err(|_| "has a certificate that cannot be read")?;
    Ok((read.validity().not_before.timestamp(), read.validity().not_after.timestamp()))
}

/// Returns the bytes of a key that exists and is not empty.
fn data(object: &Value, key: &str) -> Option<Vec<u8>> {
    let plain = object.get("stringData").and_then(|data| data.get(key)).and_then(Value::as_str);
    let encoded = || object.get("data").and_then(|data| data.get(key)).and_then(Value::as_str);
    let bytes = match plain {
        Some(text) => text.as_bytes().to_vec(),
        None => STANDARD.decode(encoded()?.split_whitespace().collect::<String>()).unwrap_or_default(),
    };
    (plain.is_some() || !bytes.is_empty()).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(data: &Value) -> Result<(i64, i64), &'static str> {
        Secret::read(&json!({"kind": "Secret", "stringData": data})).certificate
    }

    #[test]
    fn a_secret_holds_a_certificate_and_its_key_in_pem() {
        let made = rcgen::generate_simple_self_signed(["a.com".to_owned()]).unwrap();
        let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let (from, until) = read(&json!({"tls.crt": certificate, "tls.key": key})).unwrap();
        assert!(from < until);
        assert_eq!(read(&json!({"cert": certificate, "key": key})), Ok((from, until)));
        let encoded = json!({"data": {"tls.crt": STANDARD.encode(&certificate), "tls.key": STANDARD.encode(&key)}});
        assert_eq!(Secret::read(&encoded).certificate, Ok((from, until)));
        assert!(read(&json!({"tls.crt": certificate})).unwrap_err().starts_with("has neither"));
        assert!(read(&json!({"tls.crt": "none", "tls.key": key})).unwrap_err().contains("certificate"));
        assert!(read(&json!({"tls.crt": certificate, "tls.key": "none"})).unwrap_err().contains("private key"));
        assert!(read(&json!({"tls.crt": certificate, "tls.key": certificate})).unwrap_err().contains("private key"));
    }
}
