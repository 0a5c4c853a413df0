//! The one guarded HTTP client: what users name by URL is asked by the rules that each request names.
//!
//! A user's URL is a way to have this process speak to whatever it can reach. So the addresses a name resolves to are judged,
//! at each redirect again, and a connection is made to a judged address only; time, bytes and requests at once are bounded;
//! credentials stay at the origin they are meant for; and no error, log line or `Debug` shows a secret of a URL or anything of
//! a body. What may be reached differs from job to job, so [`Rules`] belong to a request and not to the process; a connection that
//! was made by some rules serves no request by others.

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
