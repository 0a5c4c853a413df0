//! The one guarded HTTP client: what users name by URL is fetched by its rules.
//!
//! A user's URL is a way to have this process speak to whatever it can reach. So the addresses a name resolves to are judged,
//! at each redirect again, and a connection is made to a judged address only; time, bytes and requests at once are bounded;
//! credentials stay at the origin they are meant for; and no error, log line or `Debug` shows a secret of a URL or anything of
//! a body.

pub mod address;
mod allow;
mod answer;
mod clients;
mod connector;
mod credentials;
mod error;
mod fetcher;
mod guard;
mod places;
mod proxies;
mod request;
mod resolver;
mod settings;
mod target;
mod tls;

#[cfg(test)]
mod tests;

pub use allow::{Allow, AllowError};
pub use answer::{Answer, Validators};
pub use credentials::{Authorization, Credentials, CredentialsError, Identity, Recipient, RecipientError};
pub use error::{FetchError, Outcome, Problem, RedirectProblem};
pub use fetcher::Fetcher;
pub use guard::{Refusal, Refused};
pub use proxies::Proxies;
pub use request::{Request, Trust};
pub use resolver::{Resolve, SystemResolver};
pub use settings::{Limits, Settings};
pub use target::{Target, TargetError};
