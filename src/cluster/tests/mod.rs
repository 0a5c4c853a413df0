//! Tests against an API server in memory.
