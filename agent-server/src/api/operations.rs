//! Health and readiness.

use serde::Serialize;
use utoipa::ToSchema;

/// Health of the server.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    /// Always `healthy`.
    #[schema(value_type = String, pattern = "^healthy$")]
    pub(crate) status: &'static str,
    /// Version of the server.
    #[schema(value_type = String)]
    pub(crate) version: &'static str,
    /// Name of the default agent.
    #[schema(required = true)]
    pub(crate) agent: Option<String>,
    /// Number of live runs in this process.
    pub(crate) live_runs: u64,
}

/// Readiness of the server.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Ready {
    /// `ready` or `not_ready`.
    #[schema(value_type = String, pattern = "^(not_)?ready$")]
    pub(crate) status: &'static str,
    /// Reason if it is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, required = false, nullable = false)]
    pub(crate) reason: Option<&'static str>,
}
