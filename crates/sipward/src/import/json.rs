//! APIBAN's answers, and our own export.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::error::Category;

use super::{Kind, Reader, Why};
use crate::control::api::BanView;

/// How long APIBAN itself keeps an address on its list (its documentation, 2026).
const APIBAN_DAYS: i64 = 7;

#[derive(Deserialize)]
#[serde(untagged)]
enum Document {
    /// `{"ipaddress": ["192.0.2.1", …], "ID": "987654321"}`
    Apiban { ipaddress: Addresses },
    /// `sipward export --format json`
    Bans(Vec<BanView>),
    /// An array of addresses.
    Array(Vec<String>),
}

/// With nothing to tell APIBAN answers with a sentence, in an array or alone.
#[derive(Deserialize)]
#[serde(untagged)]
enum Addresses {
    Many(Vec<String>),
    One(String),
}

/// # Errors
/// What is wrong, to be put after the file's name.
pub(super) fn read(text: &str, reader: &mut Reader<'_>) -> Result<Kind, String> {
    let document: Document = serde_json::from_str(text).map_err(|error| {
        let expected = "expected APIBAN's {\"ipaddress\": [\"192.0.2.1\", …]}, an array of \
                        addresses, or the output of `sipward export --format json`";
        match syntax_error(text) {
            Some(error) => format!(":{}: this is no JSON ({error}); {expected}", error.line()),
            None => format!(": other JSON than what can be imported ({error}); {expected}"),
        }
    })?;
    let end = reader.end();
    match document {
        Document::Apiban { ipaddress } => {
            let days = jiff::SignedDuration::from_hours(24 * APIBAN_DAYS);
            let end = end.or_else(|| reader.context.now.checked_add(days).ok());
            let addresses = match ipaddress {
                Addresses::Many(addresses) => addresses,
                Addresses::One(address) => vec![address],
            };
            take(text, &addresses, end, reader);
        }
        Document::Array(addresses) => take(text, &addresses, end, reader),
        Document::Bans(bans) => {
            for ban in bans {
                let shown = ban.prefix.to_string();
                let line = line_of(text, &shown);
                if ban.port.is_some() {
                    reader.skip(Some(line), shown, Why::Narrower);
                } else if ban.until.is_some_and(|until| until <= reader.context.now) {
                    reader.skip(Some(line), shown, Why::Expired);
                } else {
                    let until = ban.until.or(end);
                    reader.take_all(line, &[ban.prefix.trunc()], until, Some(ban.scope));
                }
            }
        }
    }
    Ok(Kind::Json)
}

fn take(text: &str, addresses: &[String], end: Option<Timestamp>, reader: &mut Reader<'_>) {
    for address in addresses {
        let line = if address.parse::<std::net::IpAddr>().is_ok() {
            // Nothing will be said of it.
            1
        } else {
            line_of(text, address)
        };
        reader.take(line, address, end);
    }
}

/// The line on which this is written.
fn line_of(text: &str, what: &str) -> usize {
    let before = text.find(what).and_then(|at| text.get(..at));
    before.map_or(1, |before| before.matches('\n').count() + 1)
}

/// What keeps the text from being JSON at all.
fn syntax_error(text: &str) -> Option<serde_json::Error> {
    let error = serde_json::from_str::<serde::de::IgnoredAny>(text).err()?;
    match error.classify() {
        Category::Syntax | Category::Eof | Category::Io => Some(error),
        Category::Data => None,
    }
}
