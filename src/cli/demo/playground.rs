//! The playground: a section that the demo adds to the console's page, with the shop's rows and buttons
//! that change them in the database.
//!
//! It is not part of the service: only the demo adds these routes to one, on a loopback address. Any page
//! in a browser on this machine can send requests there, so each request is checked: the host must be a
//! loopback name (otherwise a foreign name could be made to resolve to this machine), and the origin, if
//! one is sent, must be that of the console's page.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::watch;

use super::actors::Actors;
use super::error::server_message;

/// HTML for the head of the console's page: it loads the playground.
pub(crate) const HEAD: &str = "<link rel=\"stylesheet\" href=\"/demo/playground.css\">\n\
     <script type=\"module\" src=\"/demo/playground.js\"></script>\n";
const SCRIPT: &str = include_str!("page/playground.js");
const STYLE: &str = include_str!("page/playground.css");

/// Upper limit for the number of items.
const ITEMS_MAX: u32 = 60;
/// Upper limit for the bytes of a request body.
const BODY_MAX: usize = 1024;

/// The state of the routes.
#[derive(Clone)]
pub(crate) struct Playground {
    actors: Arc<Actors>,
    /// Whether the scenario and the background traffic run, or pause.
    traffic: Arc<watch::Sender<bool>>,
}

/// The action of a button.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case", deny_unknown_fields)]
enum PlaygroundAction {
    /// Increases the price of one item.
    Raise { id: i32 },
    /// Decreases the stock of one item.
    Sell { id: i32 },
    /// Deletes one item.
    Remove { id: i32 },
    /// Decreases the price of many items in one statement.
    Sale {},
    /// Resets the stock of many items in one statement.
    Restock {},
    /// Inserts one item, up to [`ITEMS_MAX`].
    Add {},
}

impl PlaygroundAction {
    /// The SQL statement, also shown on the page.
    fn sql(self) -> String {
        match self {
            Self::Raise { id } => {
                format!("UPDATE items SET price = round(price * 1.10, 2) WHERE id = {id}")
            }
            Self::Sell { id } => format!("UPDATE items SET stock = stock - 1 WHERE id = {id}"),
            Self::Remove { id } => format!("DELETE FROM items WHERE id = {id}"),
            Self::Sale {} => {
                "UPDATE items SET price = round(price * 0.90, 2) WHERE category = 'tea'".into()
            }
            Self::Restock {} => "UPDATE items SET stock = 100 WHERE stock <> 100".into(),
            Self::Add {} => format!(
                "INSERT INTO items SELECT coalesce(max(id), 0) + 1, 'Darjeeling', 'tea', 5.50, 100 \
                 FROM items HAVING count(*) < {ITEMS_MAX}"
            ),
        }
    }
}

impl Playground {
    /// The playground, and a receiver of whether the traffic runs or pauses.
    pub(crate) fn new(actors: Arc<Actors>) -> (Self, watch::Receiver<bool>) {
        let (traffic, running) = watch::channel(true);
        (Self { actors, traffic: Arc::new(traffic) }, running)
    }

    /// The routes; all paths begin with `/demo/`.
    pub(crate) fn router(self) -> Router {
        Router::new()
            .route(
                "/demo/playground.js",
                get(|| async { file("text/javascript; charset=utf-8", SCRIPT) }),
            )
            .route("/demo/playground.css", get(|| async { file("text/css; charset=utf-8", STYLE) }))
            .route("/demo/items", get(items))
            .route("/demo/actions", post(run_action))
            .route("/demo/traffic", post(set_traffic))
            .layer(DefaultBodyLimit::max(BODY_MAX))
            .layer(from_fn(require_own_page))
            .with_state(self)
    }
}

fn file(content_type: &'static str, text: &'static str) -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "no-cache"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, text)
}

/// Rejects requests of other sites' pages, and those to foreign host names that resolve to this
/// machine.
async fn require_own_page(request: Request, next: Next) -> Response {
    if is_own_page(request.headers()) {
        next.run(request).await
    } else {
        let reason = "only the demo's own page may send this request".to_owned();
        PlaygroundError(StatusCode::FORBIDDEN, reason).into_response()
    }
}

fn is_own_page(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let host = text(header::HOST).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let is_local = matches!(name, "127.0.0.1" | "localhost" | "[::1]");
    is_local && text(header::ORIGIN).is_none_or(|origin| origin == format!("http://{host}"))
}

/// A failed request: its status, and the reason for the page.
struct PlaygroundError(StatusCode, String);

impl IntoResponse for PlaygroundError {
    fn into_response(self) -> Response {
        (self.0, axum::Json(json!({"detail": self.1}))).into_response()
    }
}

impl From<tokio_postgres::Error> for PlaygroundError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self(StatusCode::INTERNAL_SERVER_ERROR, server_message(&error))
    }
}

/// Parses a JSON body. `Content-Type` must be JSON, which a page of another site can't send without a
/// preflight request.
fn parse_json<T: for<'de> Deserialize<'de>>(
    headers: &HeaderMap,
    body: &[u8],
) -> Result<T, PlaygroundError> {
    if headers.get(header::CONTENT_TYPE).is_none_or(|value| value != "application/json") {
        let reason = "Content-Type must be application/json".to_owned();
        return Err(PlaygroundError(StatusCode::UNSUPPORTED_MEDIA_TYPE, reason));
    }
    serde_json::from_slice(body)
        .map_err(|error| PlaygroundError(StatusCode::BAD_REQUEST, error.to_string()))
}

/// The rows as the database has them, and whether the traffic runs.
async fn items(State(playground): State<Playground>) -> Result<Response, PlaygroundError> {
    let sql = "SELECT coalesce(json_agg(items ORDER BY id), '[]')::text FROM items";
    let row = playground.actors.visitor.query_one(sql, &[]).await?;
    let (traffic, items): (bool, &str) = (*playground.traffic.borrow(), row.get(0));
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, format!("{{\"traffic\":{traffic},\"items\":{items}}}")).into_response())
}

/// Executes the action of a button.
async fn run_action(
    State(playground): State<Playground>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, PlaygroundError> {
    let sql = parse_json::<PlaygroundAction>(&headers, &body)?.sql();
    let rows = playground.actors.visitor.execute(&*sql, &[]).await?;
    Ok(axum::Json(json!({"sql": sql, "rows": rows})).into_response())
}

/// The body of a request that pauses or resumes the traffic.
#[derive(Deserialize)]
struct TrafficSwitch {
    running: bool,
}

/// Pauses or resumes the other parties' changes: without them it is obvious which change is whose.
async fn set_traffic(
    State(playground): State<Playground>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, PlaygroundError> {
    let TrafficSwitch { running } = parse_json(&headers, &body)?;
    playground.traffic.send_replace(running);
    Ok(axum::Json(json!({"traffic": running})).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(lines: &[(header::HeaderName, &'static str)]) -> bool {
        let lines = lines.iter().map(|(name, value)| (name.clone(), value.parse().unwrap()));
        is_own_page(&lines.collect())
    }

    #[test]
    fn only_the_page_itself_on_a_loopback_name_is_accepted() {
        for host in ["127.0.0.1:8080", "localhost:8080", "[::1]:8080", "localhost"] {
            assert!(accepted(&[(header::HOST, host)]), "{host}");
        }
        for host in ["shop.example:8080", "127.0.0.1.example", "10.0.0.1:8080", ""] {
            assert!(!accepted(&[(header::HOST, host)]), "{host}");
        }
        let from = |origin| accepted(&[(header::HOST, "127.0.0.1:8080"), (header::ORIGIN, origin)]);
        assert!(from("http://127.0.0.1:8080"));
        for origin in
            ["null", "http://evil.example", "http://127.0.0.1:9090", "http://localhost:8080", ""]
        {
            assert!(!from(origin), "{origin}");
        }
        assert!(!accepted(&[]));
    }

    #[test]
    fn the_page_refers_to_existing_routes_only() {
        for path in HEAD.split('"').chain(SCRIPT.split('"')).filter(|q| q.starts_with("/demo/")) {
            let routes = ["playground.css", "playground.js", "items", "actions", "traffic"];
            assert!(routes.contains(&path.trim_start_matches("/demo/")), "{path}");
        }
        assert!(!SCRIPT.contains("innerHTML") && !STYLE.contains("url("));
    }
}
