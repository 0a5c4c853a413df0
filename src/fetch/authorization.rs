//! Values of the header `Authorization`, hidden from `Debug`.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::HeaderValue;

/// A value of the header `Authorization`.
#[derive(Clone, PartialEq, Eq)]
pub struct Authorization(HeaderValue);

/// Why a value cannot be sent as `Authorization`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthorizationError {
    /// A token that is empty or contains spaces, control or non-ASCII characters.
    #[error("the token is empty or holds characters that cannot be sent")]
    Token,
}

impl Authorization {
    /// `Bearer`. White space around the token is removed, such as the line feed of a file.
    ///
    /// # Errors
    /// When the token cannot be sent.
    pub fn bearer(token: &str) -> Result<Self, AuthorizationError> {
        let token = token.trim();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(AuthorizationError::Token);
        }
        Self::of(&format!("Bearer {token}"))
    }

    /// `Basic`, from any bytes.
    #[must_use]
    pub fn basic(user: &[u8], password: &[u8]) -> Self {
        let text = BASE64_STANDARD.encode([user, b":", password].concat());
        // Base64 can always be sent.
        Self::of(&format!("Basic {text}")).unwrap_or(Self(HeaderValue::from_static("Basic")))
    }

    fn of(text: &str) -> Result<Self, AuthorizationError> {
        let mut value = HeaderValue::from_str(text).map_err(|_| AuthorizationError::Token)?;
        value.set_sensitive(true);
        Ok(Self(value))
    }

    pub(super) fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authorization")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_that_cannot_be_sent_are_refused() {
        for token in ["", " \n", "a b", "a\nb", "tökén"] {
            assert_eq!(Authorization::bearer(token), Err(AuthorizationError::Token), "{token:?}");
        }
        let token = Authorization::bearer("s3cret\n").expect("a token");
        assert_eq!(token.header(), "Bearer s3cret");
        assert_eq!(
            Authorization::basic("Aladdin".as_bytes(), b"open sesame").header(),
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
        );
    }
}
