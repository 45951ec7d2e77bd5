//! `/metrics`: the Prometheus text format, or OpenMetrics by content negotiation.

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use prometheus::TextEncoder;

use crate::http::api::state::AppState;
use crate::http::response::encoding::quality_value;
use crate::http::response::openmetrics::{self, OPENMETRICS_TEXT};
use crate::http::response::problem::Problem;

const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Metrics
///
/// In the Prometheus text format, or as OpenMetrics where `Accept` prefers
/// `application/openmetrics-text`.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "getMetrics",
    tag = "operations",
    params(("Accept" = Option<String>, Header, nullable = false, description = "`application/openmetrics-text` selects OpenMetrics")),
    responses(
        (status = 200, description = "All metrics", content(
            (String = "text/plain"),
            (String = "application/openmetrics-text"),
        )),
    )
)]
pub(crate) async fn metrics(
    State(api): State<AppState>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let families = api.registry().gather();
    let (kind, text) = if prefers_openmetrics(&headers) {
        (OPENMETRICS_TEXT, openmetrics::encode(&families))
    } else {
        let text = TextEncoder::new().encode_to_string(&families);
        let text = text.map_err(|error| Problem::internal(error.to_string()))?;
        (PROMETHEUS_TEXT, text)
    };
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-store"),
        (header::VARY, "accept, accept-encoding"),
    ];
    Ok((headers, text).into_response())
}

/// Whether `Accept` names OpenMetrics with at least the quality value of plain text.
fn prefers_openmetrics(headers: &HeaderMap) -> bool {
    let mut openmetrics = 0.0_f32;
    let mut text = 0.0_f32;
    let lines = headers.get_all(header::ACCEPT).iter().filter_map(|line| line.to_str().ok());
    for range in lines.flat_map(|line| line.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let quality = match parts.next() {
            Some(name) if name.eq_ignore_ascii_case("application/openmetrics-text") => {
                &mut openmetrics
            }
            Some(name) if name.eq_ignore_ascii_case("text/plain") => &mut text,
            _ => continue,
        };
        *quality = quality.max(quality_value(parts));
    }
    openmetrics > 0.0 && openmetrics >= text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openmetrics_is_chosen_by_the_accept_header() {
        let prefers = |accept: &'static str| {
            prefers_openmetrics(&[(header::ACCEPT, accept.parse().unwrap())].into_iter().collect())
        };
        // The header that Prometheus sends.
        assert!(prefers(
            "application/openmetrics-text;version=1.0.0;q=0.5,\
             application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
        ));
        assert!(prefers("application/openmetrics-text"));
        assert!(prefers("text/plain; q=0.5, Application/OpenMetrics-Text"));
        assert!(!prefers("text/plain, application/openmetrics-text;q=0.9"));
        assert!(!prefers("application/openmetrics-text;q=0"));
        assert!(!prefers("application/openmetrics-text;q=x"));
        assert!(!prefers("*/*"));
        assert!(!prefers_openmetrics(&HeaderMap::new()));
    }
}
