//! Asking a running Highwater.

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

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Longer than any answer of ours is silent.
const READ_TIMEOUT: Duration = Duration::from_mins(2);

/// Where a Highwater answers.
pub(crate) struct HttpClient {
    client: Client,
    base: Url,
}

/// Why there was no answer to use.
#[derive(Debug)]
pub(crate) enum RequestError {
    /// It may work later: nobody there, or not ready. The duration is the server's wish.
    Later(String, Option<Duration>),
    /// It will not: the question is wrong, or what answers is no Highwater.
    Never(String),
}

impl HttpClient {
    /// `--url` is an `http://` or `https://` URL, a path in front allowed. With each question goes the
    /// token, if there is one.
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
        for certificate in server.ca_file.iter().map(|file| authorities(file)) {
            client = certificate?.into_iter().fold(client, ClientBuilder::add_root_certificate);
        }
        let client = client.default_headers(headers(server.token(environment)?)?).build();
        let client = client.map_err(|error| CommandFailure::failed(with_causes(&error)))?;
        Ok(Self { client, base })
    }

    /// The URL as shown; it cannot hold a password.
    pub(crate) fn base(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// Why what an operator asked for was not answered, with what may mend it.
    pub(crate) fn failure(&self, error: RequestError) -> CommandFailure {
        let base = self.base();
        CommandFailure::failed(match error {
            RequestError::Later(why, _) => format!("{base}: {why}; is Highwater running there?"),
            RequestError::Never(why) => {
                format!(
                    "{base}: {why}; with http.admin_listen operators are answered at that address"
                )
            }
        })
    }

    /// What an answer says; fails when it is not one of ours.
    pub(crate) fn read<T: DeserializeOwned>(&self, body: &str) -> Result<T, CommandFailure> {
        serde_json::from_str(body).map_err(|error| {
            CommandFailure::failed(format!(
                "{}: the answer is not Highwater's ({error})",
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
        self.ask(Method::GET, path, query, timeout).await
    }

    /// `POST path?query`, the body read within `timeout`.
    pub(crate) async fn post(
        &self,
        path: &str,
        query: &[(&str, &str)],
        timeout: Duration,
    ) -> Result<String, RequestError> {
        self.ask(Method::POST, path, query, timeout).await
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        timeout: Duration,
    ) -> Result<String, RequestError> {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path().trim_end_matches('/')));
        let request = self.client.request(method, url).query(query).timeout(timeout);
        let later = |error: reqwest::Error| RequestError::Later(with_causes(&error), None);
        let response = request.send().await.map_err(later)?;
        if response.status().is_success() {
            return response.text().await.map_err(later);
        }
        Err(refusal(response).await)
    }
}

fn headers(token: Option<Secret>) -> Result<HeaderMap, CommandFailure> {
    let Some(token) = token else { return Ok(HeaderMap::new()) };
    let value = HeaderValue::try_from(format!("Bearer {}", token.expose()));
    let mut value = value.map_err(|_| {
        CommandFailure::Usage(
            "the token has characters that no token has; is the file the right one?".into(),
        )
    })?;
    value.set_sensitive(true);
    Ok([(AUTHORIZATION, value)].into_iter().collect())
}

/// The certificates of a file that are to be trusted.
fn authorities(file: &Path) -> Result<Vec<Certificate>, CommandFailure> {
    let unusable =
        |why: String| CommandFailure::Usage(format!("--ca-file {}: {why}", file.display()));
    let bytes = std::fs::read(file).map_err(|error| unusable(error.to_string()))?;
    match Certificate::from_pem_bundle(&bytes) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(unusable("it holds no certificates in PEM form".into())),
    }
}

fn parse_base(base: &str) -> Result<Url, CommandFailure> {
    let wrong = || {
        CommandFailure::Usage(format!(
            "--url {base}: not the address of a Highwater; write http://HOST:PORT, such as http://127.0.0.1:8080"
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
    /// What is read of RFC 9457 problem details.
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
    let said = problem.and_then(|problem| problem.detail.or(problem.title));
    let needs = if status == reqwest::StatusCode::UNAUTHORIZED {
        "; give a token by --token-file, or in HIGHWATER_TOKEN"
    } else {
        ""
    };
    let message = match said {
        Some(said) => format!("{said} ({status}){needs}"),
        None => format!("the answer was {status}"),
    };
    let again = status.is_server_error()
        || status == reqwest::StatusCode::TOO_MANY_REQUESTS
        || status == reqwest::StatusCode::REQUEST_TIMEOUT;
    if again { RequestError::Later(message, retry_after) } else { RequestError::Never(message) }
}

/// An error with its causes, which reqwest keeps to itself.
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
    fn only_plain_http_addresses_are_taken() {
        for good in ["http://127.0.0.1:8080", "https://app.example/highwater/"] {
            assert!(parse_base(good).is_ok(), "{good}");
        }
        for wrong in ["127.0.0.1:8080", "localhost", "ftp://a", "http://u:p@a", "http://a?b=c", ""]
        {
            assert!(matches!(parse_base(wrong), Err(CommandFailure::Usage(_))), "{wrong}");
        }
    }
}
