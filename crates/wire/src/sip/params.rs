//! Parameters: `;name=value;name`.

use super::grammar::{Elements, Unquoted, split_once, trim, unquote};

/// The parameters of a URI or of a header value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Params<'a> {
    /// As they stand there, with or without the first semicolon.
    pub raw: &'a [u8],
}

/// One parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Param<'a> {
    /// The name, trimmed.
    pub name: &'a [u8],
    /// The value, trimmed and without its quotes ([`unescape`](super::unescape) takes out the
    /// backslashes); empty for `;name=`, `None` for `;name`.
    pub value: Option<&'a [u8]>,
}

impl<'a> Param<'a> {
    pub(super) fn parse(element: &'a [u8]) -> Self {
        match split_once(element, b'=') {
            Some((name, value)) => Self {
                name: trim(name),
                value: Some(unquote(value)),
            },
            None => Self {
                name: trim(element),
                value: None,
            },
        }
    }
}

impl<'a> Params<'a> {
    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = Param<'a>> + use<'a> {
        Elements::new(self.raw, b';', Unquoted::quotes()).map(Param::parse)
    }

    /// The first one of this name, in any case.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Param<'a>> {
        self.iter()
            .find(|param| param.name.eq_ignore_ascii_case(name.as_bytes()))
    }

    /// The value of the first parameter of this name that has one.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&'a [u8]> {
        self.find(name)?.value
    }
}
