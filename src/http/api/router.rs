//! Routes put together with what stands around them.

use std::any::Any;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, any, get, post};
use tokio::sync::watch;
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;

use crate::auth::TokenVerifier;
use crate::http::api::changes;
use crate::http::api::health;
use crate::http::api::metrics_page;
use crate::http::api::openapi;
use crate::http::api::push;
use crate::http::api::reload;
use crate::http::api::routes::{Route, RouteAccess};
use crate::http::api::rows;
use crate::http::api::state::AppState;
use crate::http::api::status;
use crate::http::api::verify;
use crate::http::console;
use crate::http::middleware::auth_layer::AuthLayer;
use crate::http::middleware::compress::Compress;
use crate::http::middleware::cors;
use crate::http::middleware::observe::Observe;
use crate::http::middleware::rate::Buckets;
use crate::http::options::HttpOptions;
use crate::http::response::problem::{Problem, ProblemType};
use crate::metrics::Metrics;
use crate::source_status::SourceStatus;
use crate::store::Store;

/// The router of the main listener: with the operators' routes, unless they are apart.
pub fn router(
    store: Store,
    source: watch::Receiver<SourceStatus>,
    metrics: &Metrics,
    options: &HttpOptions,
) -> Router {
    let build = Build::new(store, source, metrics, options);
    let admin: &[Route] = if options.admin_apart { &[] } else { &Route::ADMIN };
    build.router(&[&Route::API, admin, &Route::PAGE].concat())
}

/// The router of the operators' own listener: health, status, metrics, reloads and checks.
pub fn admin_router(
    store: Store,
    source: watch::Receiver<SourceStatus>,
    metrics: &Metrics,
    options: &HttpOptions,
) -> Router {
    let authority = options.authority.clone().filter(|_| !options.admin_open);
    let build = Build { authority, ..Build::new(store, source, metrics, options) };
    build.router(&[&Route::ADMIN[..], &Route::PAGE].concat())
}

/// What the routes are built from.
struct Build<'a> {
    api: AppState,
    metrics: &'a Metrics,
    options: &'a HttpOptions,
    /// Who knows tokens; `None`: nobody is asked for one.
    authority: Option<TokenVerifier>,
    buckets: Option<Buckets>,
}

impl<'a> Build<'a> {
    fn new(
        store: Store,
        source: watch::Receiver<SourceStatus>,
        metrics: &'a Metrics,
        options: &'a HttpOptions,
    ) -> Self {
        let authority = options.authority.clone();
        let buckets = options.server.rate_limit.map(Buckets::new);
        let api = AppState::new(store, source, metrics, options);
        Self { api, metrics, options, authority, buckets }
    }

    fn router(&self, routes: &[Route]) -> Router {
        let paths = routes.iter().fold(Router::new(), |paths, &route| {
            paths.route(route.pattern(), self.around(route, methods(route)))
        });
        let unmatched = self.around(Route::Unmatched, any(unknown_route));
        paths.fallback_service(unmatched.with_state(self.api.clone())).with_state(self.api.clone())
    }

    /// The store whose applied position every answer of the route tells: how busy the database is
    /// is no matter of strangers.
    fn told(&self, route: Route) -> Option<Store> {
        let guarded = self.authority.is_some() && route.audience() == RouteAccess::Everybody;
        (!guarded).then(|| self.api.store().clone())
    }

    /// The layers of one route, outermost first; together they cost one allocation.
    fn around(&self, route: Route, methods: MethodRouter<AppState>) -> MethodRouter<AppState> {
        let layers = ServiceBuilder::new()
            .layer(Observe::new(route, self.told(route), self.metrics))
            .option_layer(cors::layer(&self.options.cors_origins))
            .layer(CatchPanicLayer::custom(panicked))
            .layer(Compress { is_stream: route == Route::Stream })
            .layer(AuthLayer::new(route, self.authority.clone(), self.buckets.clone()));
        methods.layer(layers)
    }
}

fn methods(route: Route) -> MethodRouter<AppState> {
    let methods = match route {
        Route::Changes => get(changes::changes),
        Route::TableChanges => get(changes::table_changes),
        Route::Stream => get(push::stream),
        Route::Socket => get(push::socket),
        Route::Row => get(rows::row::row),
        Route::Rows => get(rows::list::rows),
        Route::Store => get(rows::store_dump::store),
        Route::Reload => post(reload::reload),
        Route::Verify => post(verify::verify),
        Route::Live => get(health::live),
        Route::Ready => get(health::ready),
        Route::Status => get(status::status),
        Route::Metrics => get(metrics_page::metrics),
        Route::OpenApi => get(openapi::openapi),
        Route::Console => get(console::page),
        Route::ConsoleFile => get(console::file),
        Route::Unmatched => any(unknown_route),
    };
    let allowed = HeaderValue::from_static(route.methods());
    let allow = [(header::ALLOW, allowed)];
    let options = (StatusCode::NO_CONTENT, allow.clone());
    methods.options(|| async { options }).fallback(move |request: Request| async move {
        let detail = format!("{} is not offered here; {} are", request.method(), route.methods());
        (allow, Problem::new(ProblemType::MethodNotAllowed, detail))
    })
}

async fn unknown_route() -> Problem {
    Problem::new(
        ProblemType::UnknownRoute,
        "there is nothing at this path; /openapi.json lists what there is",
    )
}

/// What is left of a panic: the client learns that it happened, the log what.
#[expect(clippy::needless_pass_by_value, reason = "the layer calls it so")]
fn panicked(panic: Box<dyn Any + Send>) -> Response<Body> {
    let message = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("(no message)");
    Problem::internal(format!("a handler panicked: {message}")).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use tower::ServiceExt;

    use super::*;
    use crate::source_status::{SlotStatus, SourceDetail, StreamRequests};
    use crate::store::{self, Limits};

    fn metrics_path() -> &'static str {
        Route::Metrics.pattern()
    }

    #[tokio::test]
    async fn a_panic_is_a_problem_that_tells_nothing_of_it() {
        let metrics = Metrics::new().unwrap();
        let (_writer, store) = store::open(
            Limits::default(),
            StreamRequests::default(),
            store::StoreMetrics::register(&metrics.registry).unwrap(),
        );
        let picture =
            SourceStatus::new(String::new(), SourceDetail::Postgres(SlotStatus::default()));
        let options = HttpOptions::default();
        let build = Build::new(store, watch::channel(picture).1, &metrics, &options);
        let panics = || async {
            assert!(metrics_path().is_empty(), "secret");
        };
        let router = build.around(Route::Unmatched, get(panics)).with_state(build.api.clone());
        let response = router.oneshot(Request::new(Body::empty())).await.unwrap();
        assert_eq!(response.status(), 500);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        let body = to_bytes(response.into_body(), 10_000).await.unwrap();
        let body = String::from_utf8(body.to_vec()).unwrap();
        assert!(body.contains("urn:highwater:problem:internal") && !body.contains("secret"));
    }
}
