//! Registration of an endpoint: handler, access class and OpenAPI description in one value.
//!
//! A handler describes itself with `#[utoipa::path]`; `routes!` of utoipa-axum turns that into the
//! handler's method router and its part of the document. An [`Endpoint`] adds the access class, so
//! router, layers, metric labels and the document all read the same list ([`super::endpoints`]).

use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::routing::MethodRouter;
use utoipa::openapi::path::{Operation, PathItem, Paths};
use utoipa::openapi::{RefOr, Schema};
use utoipa_axum::router::UtoipaMethodRouter;

use crate::http::api::routes::{Route, RouteAccess, Transport};
use crate::http::api::state::AppState;
use crate::http::response::problem::{Problem, ProblemType};

/// A path of the HTTP API with its methods.
pub(crate) struct Endpoint {
    /// As axum and OpenAPI write it; also the `route` label of the request metrics.
    pub(crate) pattern: String,
    pub(crate) route: Route,
    methods: MethodRouter<AppState>,
    /// The value of `Allow`.
    allowed: String,
    /// Its part of the OpenAPI document; `None` for the console's files.
    description: Option<EndpointDescription>,
}

/// An endpoint's part of the OpenAPI document.
#[derive(Clone)]
pub(crate) struct EndpointDescription {
    pub(crate) item: PathItem,
    /// The schemas that the operations refer to, by name.
    pub(crate) schemas: Vec<(String, RefOr<Schema>)>,
}

impl Endpoint {
    /// An endpoint that every caller may use.
    pub(crate) fn public(routes: UtoipaMethodRouter<AppState>) -> Self {
        Self::described(RouteAccess::Public, routes)
    }

    /// An endpoint for callers that may read tables.
    pub(crate) fn reader(routes: UtoipaMethodRouter<AppState>) -> Self {
        Self::described(RouteAccess::Reader, routes)
    }

    /// An endpoint for callers with an admin token.
    pub(crate) fn admin(routes: UtoipaMethodRouter<AppState>) -> Self {
        Self::described(RouteAccess::Admin, routes)
    }

    /// A public `GET` endpoint that is not part of the API's description.
    pub(crate) fn undescribed(pattern: &str, methods: MethodRouter<AppState>) -> Self {
        Self {
            pattern: pattern.to_owned(),
            route: Route::new(RouteAccess::Public),
            methods,
            allowed: "GET, HEAD, OPTIONS".to_owned(),
            description: None,
        }
    }

    fn described(
        access: RouteAccess,
        (schemas, Paths { paths, .. }, methods): UtoipaMethodRouter<AppState>,
    ) -> Self {
        // `routes!` of one handler describes one path.
        let (pattern, item) = paths.into_iter().next().unwrap_or_default();
        let allowed = allowed(&item);
        let description = Some(EndpointDescription { item, schemas });
        Self { pattern, route: Route::new(access), methods, allowed, description }
    }

    /// The same endpoint with responses in another transport.
    pub(crate) fn over(mut self, transport: Transport) -> Self {
        self.route.transport = transport;
        self
    }

    /// The same endpoint without a rate limit.
    pub(crate) fn unlimited(mut self) -> Self {
        self.route.is_rate_limited = false;
        self
    }

    pub(crate) fn description(&self) -> Option<&EndpointDescription> {
        self.description.as_ref()
    }

    /// The handlers, with `OPTIONS` and a problem for every other method (RFC 9110, 15.5.6).
    pub(crate) fn methods(&self) -> MethodRouter<AppState> {
        // A list of method names is always a valid header value.
        let allow = HeaderValue::try_from(&self.allowed);
        let allow = [(header::ALLOW, allow.unwrap_or(HeaderValue::from_static("OPTIONS")))];
        let options = (StatusCode::NO_CONTENT, allow.clone());
        let allowed = self.allowed.clone();
        self.methods.clone().options(|| async { options }).fallback(
            move |request: Request| async move {
                let method = request.method();
                let detail = format!("{method} is not allowed at this path; allowed: {allowed}");
                (allow, Problem::new(ProblemType::MethodNotAllowed, detail))
            },
        )
    }
}

impl EndpointDescription {
    /// The operations of every method.
    pub(crate) fn operations_mut(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
        [&mut item.get, &mut item.post, &mut item.put, &mut item.delete]
            .into_iter()
            .filter_map(Option::as_mut)
    }
}

/// The methods of a path as `Allow` lists them. Every `GET` answers `HEAD`, every path `OPTIONS`.
fn allowed(item: &PathItem) -> String {
    let offered = [
        (item.get.is_some(), "GET, HEAD"),
        (item.put.is_some(), "PUT"),
        (item.post.is_some(), "POST"),
        (item.delete.is_some(), "DELETE"),
        (true, "OPTIONS"),
    ];
    let offered = offered.into_iter().filter(|(is_offered, _)| *is_offered);
    offered.map(|(_, name)| name).collect::<Vec<_>>().join(", ")
}
