//! JSON: a page of APIBAN, or an array of strings.

use serde::Deserialize;

use crate::{Error, Format, List, Text, prefix, text::Place};

/// What APIBAN answers: addresses, and the number behind which the next page begins.
#[derive(Deserialize)]
struct Page {
    ipaddress: Vec<String>,
    #[serde(rename = "ID", default)]
    id: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Document {
    Page(Page),
    Strings(Vec<String>),
}

pub(crate) fn read(text: &str) -> Result<List, Error> {
    let document: Document = serde_json::from_str(text).map_err(|error| {
        let value: Result<serde_json::Value, _> = serde_json::from_str(text);
        match value {
            Ok(_) => Error::Json("no such keys".to_owned()),
            Err(syntax) if !syntax.is_data() => Error::Json(syntax.to_string()),
            Err(_) => Error::Json(error.to_string()),
        }
    })?;
    let mut list = List::of(Format::Json);
    let (strings, page) = match document {
        Document::Page(page) => (page.ipaddress, Some(page.id)),
        Document::Strings(strings) => (strings, None),
    };
    for (number, string) in (1..).zip(&strings) {
        match (prefix::read(string), &page) {
            (Some(prefixes), _) => list.prefixes.extend(prefixes),
            (None, None) => list.texts.push(Text::new(number, string, Place::UserAgent)),
            // Its errors stand where the addresses would: "rate limit exceeded".
            (None, Some(_)) if strings.len() == 1 && !is_end(string) => {
                return Err(Error::Refused(crate::lines::short(string)));
            }
            (None, Some(_)) => {}
        }
    }
    list.next = page.flatten().filter(|id| !is_end(id));
    Ok(list)
}

/// How APIBAN says that nothing follows.
fn is_end(id: &str) -> bool {
    id.is_empty() || id == "none" || id.starts_with("no new")
}
