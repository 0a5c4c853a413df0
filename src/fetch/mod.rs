//! The one guarded HTTP client: what users name by URL is fetched by its rules.
