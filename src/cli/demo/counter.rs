//! The shop's counter: what the demo adds to the console, a page's part that shows the shop's rows and
//! changes them in its database.
//!
//! It is no part of the service: only the demo hands it to one, on a loopback address. There any page in
//! a browser on this machine could ask for it, so it looks at who asks: the host must be a loopback name
//! (or a foreign name could be made to mean this machine), and the origin, if one is sent, must be our
//! own page's.

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

use super::story::Players;

/// What the console's page loads in the demo.
pub(crate) const HEAD: &str = "<link rel=\"stylesheet\" href=\"/demo/story.css\">\n\
     <script type=\"module\" src=\"/demo/story.js\"></script>\n";
const SCRIPT: &str = include_str!("page/story.js");
const STYLE: &str = include_str!("page/story.css");

/// Items the shop has room for.
const ITEMS_MAX: u32 = 60;
/// Bytes of a request.
const BODY_MAX: usize = 1024;

/// Who works behind the counter.
#[derive(Clone)]
pub(crate) struct Counter {
    players: Arc<Players>,
    /// Whether everyday business goes on.
    open: Arc<watch::Sender<bool>>,
}

/// What a button does.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(tag = "act", rename_all = "snake_case", deny_unknown_fields)]
enum Act {
    /// One row dearer.
    Raise { id: i32 },
    /// One piece of it less.
    Sell { id: i32 },
    /// It is gone.
    Remove { id: i32 },
    /// Many rows at once.
    Sale {},
    /// Likewise.
    Restock {},
    /// One more.
    Add {},
}

impl Act {
    /// The statement, as the page shows it.
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

impl Counter {
    /// A counter, and whether business goes on.
    pub(crate) fn new(players: Arc<Players>) -> (Self, watch::Receiver<bool>) {
        let (open, is_open) = watch::channel(true);
        (Self { players, open: Arc::new(open) }, is_open)
    }

    /// The routes, all below `/demo/`.
    pub(crate) fn router(self) -> Router {
        Router::new()
            .route(
                "/demo/story.js",
                get(|| async { file("text/javascript; charset=utf-8", SCRIPT) }),
            )
            .route("/demo/story.css", get(|| async { file("text/css; charset=utf-8", STYLE) }))
            .route("/demo/items", get(items))
            .route("/demo/acts", post(act))
            .route("/demo/business", post(business))
            .layer(DefaultBodyLimit::max(BODY_MAX))
            .layer(from_fn(only_our_page))
            .with_state(self)
    }
}

fn file(kind: &'static str, text: &'static str) -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-cache"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, text)
}

/// Refuses other sites' pages, and names that only pretend to be this machine's.
async fn only_our_page(request: Request, next: Next) -> Response {
    if is_ours(request.headers()) {
        next.run(request).await
    } else {
        let why = "only the demo's own page, on this machine, may ask for this".to_owned();
        Refused(StatusCode::FORBIDDEN, why).into_response()
    }
}

fn is_ours(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let host = text(header::HOST).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let is_local = matches!(name, "127.0.0.1" | "localhost" | "[::1]");
    is_local && text(header::ORIGIN).is_none_or(|origin| origin == format!("http://{host}"))
}

/// Why something was not done.
struct Refused(StatusCode, String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, axum::Json(json!({"detail": self.1}))).into_response()
    }
}

impl From<tokio_postgres::Error> for Refused {
    fn from(error: tokio_postgres::Error) -> Self {
        Self(StatusCode::INTERNAL_SERVER_ERROR, super::error::said(&error))
    }
}

/// A body that says it is JSON: a form of another site can't, without being asked for its origin.
fn read<T: for<'de> Deserialize<'de>>(headers: &HeaderMap, body: &[u8]) -> Result<T, Refused> {
    if headers.get(header::CONTENT_TYPE).is_none_or(|kind| kind != "application/json") {
        let why = "send JSON, and say so in Content-Type".to_owned();
        return Err(Refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, why));
    }
    serde_json::from_slice(body)
        .map_err(|error| Refused(StatusCode::BAD_REQUEST, error.to_string()))
}

/// The rows, as the database has them, and whether business goes on.
async fn items(State(counter): State<Counter>) -> Result<Response, Refused> {
    let sql = "SELECT coalesce(json_agg(items ORDER BY id), '[]')::text FROM items";
    let row = counter.players.visitor.query_one(sql, &[]).await?;
    let (open, items): (bool, &str) = (*counter.open.borrow(), row.get(0));
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, format!("{{\"open\":{open},\"items\":{items}}}")).into_response())
}

/// A button was pressed.
async fn act(
    State(counter): State<Counter>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refused> {
    let sql = read::<Act>(&headers, &body)?.sql();
    let rows = counter.players.visitor.execute(&*sql, &[]).await?;
    Ok(axum::Json(json!({"sql": sql, "rows": rows})).into_response())
}

/// Whether business is to go on.
#[derive(Deserialize)]
struct Business {
    open: bool,
}

/// Others stop, or go on: in a quiet shop it is plain to see who changed what.
async fn business(
    State(counter): State<Counter>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refused> {
    let Business { open } = read(&headers, &body)?;
    counter.open.send_replace(open);
    Ok(axum::Json(json!({"open": open})).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(lines: &[(header::HeaderName, &'static str)]) -> bool {
        let lines = lines.iter().map(|(name, value)| (name.clone(), value.parse().unwrap()));
        is_ours(&lines.collect())
    }

    #[test]
    fn only_our_own_page_on_this_machine_may_ask() {
        for host in ["127.0.0.1:8080", "localhost:8080", "[::1]:8080", "localhost"] {
            assert!(ours(&[(header::HOST, host)]), "{host}");
        }
        for host in ["shop.example:8080", "127.0.0.1.example", "10.0.0.1:8080", ""] {
            assert!(!ours(&[(header::HOST, host)]), "{host}");
        }
        let from = |origin| ours(&[(header::HOST, "127.0.0.1:8080"), (header::ORIGIN, origin)]);
        assert!(from("http://127.0.0.1:8080"));
        for origin in
            ["null", "http://evil.example", "http://127.0.0.1:9090", "http://localhost:8080", ""]
        {
            assert!(!from(origin), "{origin}");
        }
        assert!(!ours(&[]));
    }

    #[test]
    fn the_page_s_part_names_only_what_is_there() {
        for path in HEAD.split('"').chain(SCRIPT.split('"')).filter(|q| q.starts_with("/demo/")) {
            let there = ["story.css", "story.js", "items", "acts", "business"];
            assert!(there.contains(&path.trim_start_matches("/demo/")), "{path}");
        }
        assert!(!SCRIPT.contains("innerHTML") && !STYLE.contains("url("));
    }
}
