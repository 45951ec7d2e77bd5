//! What the layers around a handler need to know of its route.

/// Who may call a route, where authentication is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RouteAccess {
    /// Every caller, without a token: the responses reveal nothing of tables or databases.
    Public,
    /// Callers with a valid token, for the tables that it grants.
    Reader,
    /// Callers with an admin token.
    Admin,
}

/// What a route's responses travel in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// An ordinary response body.
    Response,
    /// Server-Sent Events: never compressed, because a compressor holds events back until it has
    /// enough of them.
    EventStream,
    /// A WebSocket: its token may come as a subprotocol, because browsers can't send
    /// `Authorization` there.
    WebSocket,
}

/// The properties of a route by which its layers differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) access: RouteAccess,
    pub(crate) transport: Transport,
    /// Probes, scrapers and admin commands are exempt from the rate limit: an operator must reach
    /// a service whose clients are limited.
    pub(crate) is_rate_limited: bool,
}

impl Route {
    pub(crate) const fn new(access: RouteAccess) -> Self {
        Self { access, transport: Transport::Response, is_rate_limited: true }
    }
}

/// Whether responses at this path carry `Highwater-Version`.
pub(crate) fn is_versioned(path: &str) -> bool {
    path.starts_with("/v1/") || path == "/v1"
}
