//! The routers of both listeners: endpoints with the layers around them.

use axum::Router;
use axum::routing::{MethodRouter, any};
use tokio::sync::watch;
use tower::ServiceBuilder;

use crate::auth::TokenVerifier;
use crate::http::api::document::OPENAPI_JSON;
use crate::http::api::endpoint::Endpoint;
use crate::http::api::endpoints;
use crate::http::api::routes::{Route, RouteAccess, Transport};
use crate::http::api::state::AppState;
use crate::http::middleware::auth_layer::AuthLayer;
use crate::http::middleware::catch_panic::CatchPanic;
use crate::http::middleware::compress::Compress;
use crate::http::middleware::cors;
use crate::http::middleware::observe::Observe;
use crate::http::middleware::rate::Buckets;
use crate::http::options::HttpOptions;
use crate::http::response::problem::{Problem, ProblemType};
use crate::metrics::Metrics;
use crate::source_status::SourceStatus;
use crate::store::Store;

/// The `route` label of requests that match no endpoint.
const UNMATCHED: &str = "unmatched";

/// The router of the main listener: the API, and the admin endpoints unless they have a listener of
/// their own.
pub fn router(
    store: Store,
    source: watch::Receiver<SourceStatus>,
    metrics: &Metrics,
    options: &HttpOptions,
) -> Router {
    let build = RouterBuild::new(store, source, metrics, options);
    let admin = if options.admin_apart { vec![] } else { endpoints::admin() };
    build.router(&[endpoints::api(), admin, endpoints::console()])
}

/// The router of the admin listener: health, status, metrics, reload and verify.
pub fn admin_router(
    store: Store,
    source: watch::Receiver<SourceStatus>,
    metrics: &Metrics,
    options: &HttpOptions,
) -> Router {
    let authority = options.authority.clone().filter(|_| !options.admin_open);
    let build = RouterBuild { authority, ..RouterBuild::new(store, source, metrics, options) };
    build.router(&[endpoints::admin(), endpoints::console()])
}

/// What the routers are built from.
struct RouterBuild<'a> {
    api: AppState,
    metrics: &'a Metrics,
    options: &'a HttpOptions,
    /// `None`: requests are not authenticated.
    authority: Option<TokenVerifier>,
    buckets: Option<Buckets>,
}

impl<'a> RouterBuild<'a> {
    fn new(
        store: Store,
        source: watch::Receiver<SourceStatus>,
        metrics: &'a Metrics,
        options: &'a HttpOptions,
    ) -> Self {
        let authority = options.authority.clone();
        let buckets = options.server.rate_limit.map(Buckets::new);
        let api = AppState::new(store, source, metrics, options, OPENAPI_JSON.clone());
        Self { api, metrics, options, authority, buckets }
    }

    fn router(&self, endpoints: &[Vec<Endpoint>]) -> Router {
        let endpoints = endpoints.iter().flatten();
        let router = endpoints.fold(Router::new(), |router, endpoint| {
            let Endpoint { pattern, route, .. } = endpoint;
            router.route(pattern, self.layered(pattern, *route, endpoint.methods()))
        });
        let public = Route::new(RouteAccess::Public);
        let unmatched = self.layered(UNMATCHED, public, any(unknown_route));
        router.fallback_service(unmatched.with_state(self.api.clone())).with_state(self.api.clone())
    }

    /// The store whose applied position the route's responses carry. `None` where the route is public
    /// and others need a token: the position reveals how busy the database is.
    fn versioned_by(&self, route: Route) -> Option<Store> {
        let is_hidden = self.authority.is_some() && route.access == RouteAccess::Public;
        (!is_hidden).then(|| self.api.store().clone())
    }

    /// The layers of one route, outermost first; together they cost one allocation per request.
    fn layered(
        &self,
        pattern: &str,
        route: Route,
        methods: MethodRouter<AppState>,
    ) -> MethodRouter<AppState> {
        let layers = ServiceBuilder::new()
            .layer(Observe::new(pattern, self.versioned_by(route), self.metrics))
            .option_layer(cors::layer(&self.options.cors_origins))
            .layer(CatchPanic)
            .layer(Compress { is_stream: route.transport == Transport::EventStream })
            .layer(AuthLayer::new(route, self.authority.clone(), self.buckets.clone()));
        methods.layer(layers)
    }
}

async fn unknown_route() -> Problem {
    Problem::new(
        ProblemType::UnknownRoute,
        "there is no endpoint at this path; /openapi.json lists the endpoints",
    )
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::extract::Request;
    use tower::ServiceExt;

    use super::*;
    use crate::source_status::{SlotStatus, SourceDetail, StreamRequests};
    use crate::store::{self, Limits};

    #[tokio::test]
    async fn a_panic_is_a_problem_that_does_not_reveal_its_message() {
        let metrics = Metrics::new().unwrap();
        let (_writer, store) = store::open(
            Limits::default(),
            StreamRequests::default(),
            store::StoreMetrics::register(&metrics.registry).unwrap(),
        );
        let status =
            SourceStatus::new(String::new(), SourceDetail::Postgres(SlotStatus::default()));
        let options = HttpOptions::default();
        let build = RouterBuild::new(store, watch::channel(status).1, &metrics, &options);
        let panics = || async {
            assert!(UNMATCHED.is_empty(), "secret");
        };
        let public = Route::new(RouteAccess::Public);
        let router = build.layered(UNMATCHED, public, any(panics)).with_state(build.api.clone());
        let response = router.oneshot(Request::new(Body::empty())).await.unwrap();
        assert_eq!(response.status(), 500);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        let body = to_bytes(response.into_body(), 10_000).await.unwrap();
        let body = String::from_utf8(body.to_vec()).unwrap();
        assert!(body.contains("urn:highwater:problem:internal") && !body.contains("secret"));
    }
}
