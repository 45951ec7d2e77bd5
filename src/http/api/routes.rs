//! The paths there are: the router, the metric labels and the OpenAPI document share this list.

/// Who may ask what a route offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RouteAccess {
    /// Everybody, without a token: it tells nothing of tables and databases.
    Everybody,
    /// Bearers of a token, each about the tables that it names.
    Readers,
    /// Bearers of an operator's token.
    Admin,
}

/// A path of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// Changes of many tables.
    Changes,
    /// Changes of one table.
    TableChanges,
    /// The same as Server-Sent Events.
    Stream,
    /// The same over a WebSocket.
    Socket,
    /// One row.
    Row,
    /// Rows of one table.
    Rows,
    /// Whole tables.
    Store,
    /// Rows are dropped and read again.
    Reload,
    /// Rows are compared with the database.
    Verify,
    /// The process answers.
    Live,
    /// The stream is caught up.
    Ready,
    /// How the service is doing, as JSON.
    Status,
    /// The same as numbers.
    Metrics,
    /// The description of all this.
    OpenApi,
    /// The page for people.
    Console,
    /// What it is made of.
    ConsoleFile,
    /// Every other path.
    Unmatched,
}

impl Route {
    /// What applications call.
    pub(crate) const API: [Self; 8] = [
        Self::Changes,
        Self::TableChanges,
        Self::Stream,
        Self::Socket,
        Self::Row,
        Self::Rows,
        Self::Store,
        Self::OpenApi,
    ];
    /// What operators call: on the listener of their own, if there is one.
    pub(crate) const ADMIN: [Self; 6] =
        [Self::Live, Self::Ready, Self::Status, Self::Metrics, Self::Reload, Self::Verify];

    /// The page for people, on every listener. It is not part of the API, nor of its description.
    pub(crate) const PAGE: [Self; 2] = [Self::Console, Self::ConsoleFile];

    /// The path as axum and OpenAPI write it, also the metrics' `route` label.
    pub(crate) fn pattern(self) -> &'static str {
        match self {
            Self::Changes => "/v1/changes",
            Self::TableChanges => "/v1/tables/{table}/changes",
            Self::Stream => "/v1/stream",
            Self::Socket => "/v1/ws",
            Self::Row => "/v1/tables/{table}/rows/{id}",
            Self::Rows => "/v1/tables/{table}/rows",
            Self::Store => "/v1/store",
            Self::Reload => "/admin/reload",
            Self::Verify => "/admin/verify",
            Self::Live => "/livez",
            Self::Ready => "/readyz",
            Self::Status => "/v1/status",
            Self::Metrics => "/metrics",
            Self::OpenApi => "/openapi.json",
            Self::Console => "/",
            Self::ConsoleFile => "/console/{file}",
            Self::Unmatched => "unmatched",
        }
    }

    /// Who may ask, where anybody is asked who they are.
    pub(crate) fn audience(self) -> RouteAccess {
        match self {
            Self::Changes
            | Self::TableChanges
            | Self::Stream
            | Self::Socket
            | Self::Row
            | Self::Rows
            | Self::Store => RouteAccess::Readers,
            Self::Reload | Self::Verify | Self::Status | Self::Metrics => RouteAccess::Admin,
            Self::Live
            | Self::Ready
            | Self::OpenApi
            | Self::Console
            | Self::ConsoleFile
            | Self::Unmatched => RouteAccess::Everybody,
        }
    }

    /// Its methods, as `Allow` says them.
    pub(crate) fn methods(self) -> &'static str {
        match self {
            Self::Reload | Self::Verify => "POST, OPTIONS",
            _ => "GET, HEAD, OPTIONS",
        }
    }
}

/// Whether answers at this path carry `Highwater-Version`.
pub(crate) fn is_versioned(path: &str) -> bool {
    path.starts_with("/v1/") || path == "/v1"
}
