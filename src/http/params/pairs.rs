//! The parameters of a query string, each at most once (but `where`, whose lists are joined), under
//! names that are known.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use crate::http::response::problem::{Problem, shown};

/// The parameter that may be given more than once.
pub(super) const WHERE: &str = "where";

/// The decoded text of each of `N` known parameters, where it was sent. No allocation where
/// nothing needs decoding: most polls.
pub(super) struct QueryPairs<'a, const N: usize> {
    names: [&'static str; N],
    texts: [Option<Cow<'a, str>>; N],
}

impl<'a, const N: usize> QueryPairs<'a, N> {
    /// Takes `query` apart; a name that is not among `names` is refused.
    pub(super) fn read(query: &'a str, names: [&'static str; N]) -> Result<Self, Problem> {
        let mut sent = Self { names, texts: [const { None }; N] };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            sent.take(pair)?;
        }
        Ok(sent)
    }

    fn take(&mut self, pair: &'a str) -> Result<(), Problem> {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decode(name)?;
        let place = self.names.iter().position(|known| *known == name);
        let Some(text) = place.and_then(|place| self.texts.get_mut(place)) else {
            return Err(unknown(&name, &self.names));
        };
        let value = decode(value)?;
        *text = Some(match text.take() {
            None => value,
            Some(before) if name == WHERE => Cow::Owned(format!("{before},{value}")),
            Some(_) => {
                return Err(Problem::invalid(format!("`{name}` is given twice: give it once")));
            }
        });
        Ok(())
    }

    /// What was sent as `name`.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let place = self.names.iter().position(|known| *known == name)?;
        self.texts.get(place)?.as_deref()
    }

    /// The same, read by `read`.
    pub(super) fn value<T>(
        &self,
        name: &str,
        read: impl FnOnce(&str) -> Result<T, Problem>,
    ) -> Result<Option<T>, Problem> {
        self.text(name).map(read).transpose()
    }
}

/// A parameter nobody knows; most often it is misspelt.
fn unknown(name: &str, known: &[&str]) -> Problem {
    let alike = |known: &&&str| strsim::jaro_winkler(name, known);
    let nearest = known.iter().max_by(|a, b| alike(a).total_cmp(&alike(b))).unwrap_or(&"");
    let name = shown(name);
    Problem::invalid(format!("there is no parameter `{name}` here; the nearest is `{nearest}`"))
}

/// Undoes the encoding of forms: `+` and percent signs.
fn decode(text: &str) -> Result<Cow<'_, str>, Problem> {
    let not_utf8 = |_| Problem::invalid("the query string is not UTF-8 once percent-decoded");
    if text.contains('+') {
        let spaced = text.replace('+', " ");
        let decoded = percent_decode_str(&spaced).decode_utf8().map_err(not_utf8)?;
        return Ok(Cow::Owned(decoded.into_owned()));
    }
    percent_decode_str(text).decode_utf8().map_err(not_utf8)
}
