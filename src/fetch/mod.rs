//! The guarded HTTP client: requests URLs of users by the rules of each request.
//!
//! A user's URL could make this process connect to anything it can reach. So all addresses of a name are checked, again at each
//! redirect, and connections are made only to checked addresses. Time, bytes and concurrent requests are limited. Credentials stay
//! at their origin. No error, log line or `Debug` output shows a secret of a URL or any part of a body. Jobs differ in what they
//! may reach, so [`Rules`] belong to a request and not to the process. A connection is only used for requests with the rules it
//! was made by.

pub mod address;
mod allow;
mod answer;
mod arriving;
mod authorization;
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
mod rules;
mod settings;
mod statuses;
mod target;
mod tls;

#[cfg(test)]
pub(crate) mod tests;

pub use allow::{Allow, AllowError};
pub use answer::{Answer, Validators};
pub use arriving::Arriving;
pub use authorization::{Authorization, AuthorizationError};
pub use credentials::{Credentials, Identity, Recipient, RecipientError};
pub use error::{FetchError, FetchOutcome, FetchProblem, RedirectProblem};
pub use fetcher::Fetcher;
pub use guard::{Guard, Refusal, Refused};
pub use places::{Places, RequestPlace};
pub use proxies::Proxies;
pub use request::{HeaderError, Request, Trust};
pub use resolver::{Pin, PinnedResolver, Resolve, SystemResolver};
pub use rules::Rules;
pub use settings::{Limits, Settings};
pub use statuses::Statuses;
pub use target::{FetchTarget, TargetError};
