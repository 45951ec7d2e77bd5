//! The HTTP client of commands that talk to a running Highwater.

use std::path::Path;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Certificate, Client, ClientBuilder, Method, Response, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::failure::CommandFailure;
use super::flags::ServerFlags;
use crate::config::Environment;
use crate::secret::Secret;

/// Time limit for connecting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Time limit between two reads. Longer than the service ever leaves a response without bytes.
const READ_TIMEOUT: Duration = Duration::from_mins(2);

/// A client of one Highwater.
pub(crate) struct HttpClient {
    client: Client,
    base: Url,
}

/// The reason why there is no usable response.
#[derive(Debug)]
pub(crate) enum RequestError {
    /// Unreachable or not ready: a retry may succeed, after the server's `Retry-After` if given.
    Temporary(String, Option<Duration>),
    /// Invalid request, or a server that is not Highwater: a retry fails again.
    Permanent(String),
}

impl HttpClient {
    /// `--url` is an `http://` or `https://` URL, optionally with a path prefix. Every request carries
    /// the token, if there is one.
    pub(crate) fn new(
        server: &ServerFlags,
        environment: &Environment,
    ) -> Result<Self, CommandFailure> {
        let base = parse_base(&server.url)?;
        let agent = concat!("highwater/", env!("CARGO_PKG_VERSION"));
        let mut client = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .user_agent(agent);
        for certificate in server.ca_file.iter().map(|file| ca_certificates(file)) {
            client = certificate?.into_iter().fold(client, ClientBuilder::add_root_certificate);
        }
        let client = client.default_headers(headers(server.token(environment)?)?).build();
        let client = client.map_err(|error| CommandFailure::failed(with_causes(&error)))?;
        Ok(Self { client, base })
    }

    /// The URL for messages. It contains no password, see `parse_base`.
    pub(crate) fn base(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// The failure of an admin request, with a hint.
    pub(crate) fn failure(&self, error: RequestError) -> CommandFailure {
        let base = self.base();
        CommandFailure::failed(match error {
            RequestError::Temporary(why, _) => {
                format!("{base}: {why}; is Highwater running there?")
            }
            RequestError::Permanent(why) => {
                format!("{base}: {why}; if http.admin_listen is set, use that address")
            }
        })
    }

    /// Parses a response body.
    pub(crate) fn parse<T: DeserializeOwned>(&self, body: &str) -> Result<T, CommandFailure> {
        serde_json::from_str(body).map_err(|error| {
            CommandFailure::failed(format!(
                "{}: the response is not from Highwater ({error})",
                self.base()
            ))
        })
    }

    /// `GET path?query`, the body read within `timeout`.
    pub(crate) async fn get(
        &self,
        path: &str,
        query: &[(&str, &str)],
        timeout: Duration,
    ) -> Result<String, RequestError> {
        self.send(Method::GET, path, query, timeout).await
    }

    /// `POST path?query`, the body read within `timeout`.
    pub(crate) async fn post(
        &self,
        path: &str,
        query: &[(&str, &str)],
        timeout: Duration,
    ) -> Result<String, RequestError> {
        self.send(Method::POST, path, query, timeout).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        timeout: Duration,
    ) -> Result<String, RequestError> {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path().trim_end_matches('/')));
        let request = self.client.request(method, url).query(query).timeout(timeout);
        let temporary = |error: reqwest::Error| RequestError::Temporary(with_causes(&error), None);
        let response = request.send().await.map_err(temporary)?;
        if response.status().is_success() {
            return response.text().await.map_err(temporary);
        }
        Err(refusal(response).await)
    }
}

fn headers(token: Option<Secret>) -> Result<HeaderMap, CommandFailure> {
    let Some(token) = token else { return Ok(HeaderMap::new()) };
    let value = HeaderValue::try_from(format!("Bearer {}", token.expose()));
    let mut value = value.map_err(|_| {
        CommandFailure::Usage(
            "the token contains characters that are not allowed in a header; is it the right file?"
                .into(),
        )
    })?;
    value.set_sensitive(true);
    Ok([(AUTHORIZATION, value)].into_iter().collect())
}

/// The certificates in a file.
fn ca_certificates(file: &Path) -> Result<Vec<Certificate>, CommandFailure> {
    let unusable =
        |why: String| CommandFailure::Usage(format!("--ca-file {}: {why}", file.display()));
    let bytes = std::fs::read(file).map_err(|error| unusable(error.to_string()))?;
    match Certificate::from_pem_bundle(&bytes) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(unusable("it contains no certificates in PEM format".into())),
    }
}

fn parse_base(base: &str) -> Result<Url, CommandFailure> {
    let wrong = || {
        CommandFailure::Usage(format!(
            "--url {base}: not the address of a Highwater; use http://HOST:PORT, such as http://127.0.0.1:8080"
        ))
    };
    let url = Url::parse(base).map_err(|_| wrong())?;
    let plain = ["http", "https"].contains(&url.scheme())
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none();
    if plain { Ok(url) } else { Err(wrong()) }
}

async fn refusal(response: Response) -> RequestError {
    /// The members of RFC 9457 problem details that are used.
    #[derive(Deserialize)]
    struct ProblemSummary {
        detail: Option<String>,
        title: Option<String>,
    }
    let status = response.status();
    let retry_after = response
        .headers()
        .get(reqwest::header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .map(Duration::from_secs);
    let body = response.text().await.unwrap_or_default();
    let problem = serde_json::from_str::<ProblemSummary>(&body).ok();
    let detail = problem.and_then(|problem| problem.detail.or(problem.title));
    let needs = if status == reqwest::StatusCode::UNAUTHORIZED {
        "; pass a token with --token-file or in HIGHWATER_TOKEN"
    } else {
        ""
    };
    let message = match detail {
        Some(detail) => format!("{detail} ({status}){needs}"),
        None => format!("the response was {status}"),
    };
    let is_temporary = status.is_server_error()
        || status == reqwest::StatusCode::TOO_MANY_REQUESTS
        || status == reqwest::StatusCode::REQUEST_TIMEOUT;
    if is_temporary {
        RequestError::Temporary(message, retry_after)
    } else {
        RequestError::Permanent(message)
    }
}

/// An error with its causes, which the `Display` form of reqwest's errors omits.
fn with_causes(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_http_addresses_without_credentials_are_accepted() {
        for good in ["http://127.0.0.1:8080", "https://app.example/highwater/"] {
            assert!(parse_base(good).is_ok(), "{good}");
        }
        for wrong in ["127.0.0.1:8080", "localhost", "ftp://a", "http://u:p@a", "http://a?b=c", ""]
        {
            assert!(matches!(parse_base(wrong), Err(CommandFailure::Usage(_))), "{wrong}");
        }
    }
}
