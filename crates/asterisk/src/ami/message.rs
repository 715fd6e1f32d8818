//! One message: a response or an event.

use crate::log::{SecurityEvent, event_named, service_named, transport_address};

/// A response or an event: fields in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    text: Vec<u8>,
    /// The rest of a torn event follows.
    torn: bool,
}

/// What a message can be a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// It begins as Asterisk begins a security event.
    SecurityEvent,
    /// It has what ends a security event, and not its beginning.
    RestOfEvent,
    /// Something else.
    Other,
}

impl Message {
    pub(super) fn new(text: Vec<u8>) -> Self {
        Self { text, torn: false }
    }

    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    /// Where the account of a security event begins.
    pub(super) fn name_begins(&self) -> Option<usize> {
        let (key, account) = self.beginning()?.next()?;
        (key == b"AccountID").then(|| self.offset_of(account))
    }

    /// Where the first session of a security event begins.
    pub(super) fn session_begins(&self) -> Option<usize> {
        let (key, _) = self.fields().find(|(key, _)| *key == b"SessionID")?;
        Some(self.offset_of(key))
    }

    /// Where a part of the text is in it.
    fn offset_of(&self, part: &[u8]) -> usize {
        part.as_ptr().addr() - self.text.as_ptr().addr()
    }

    pub(super) fn distrust(&mut self) {
        self.torn = true;
    }

    /// All fields, in order.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        Lines(Some(&self.text)).filter_map(|line| {
            let colon = memchr::memchr(b':', line)?;
            let (key, value) = line.split_at_checked(colon)?;
            let value = value.strip_prefix(b":")?;
            Some((key, value.strip_prefix(b" ").unwrap_or(value)))
        })
    }

    /// A field. `None` where it is missing, or there more than once: then a stranger may have
    /// written one of them.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        let mut found = self
            .fields()
            .filter(|(key, _)| key.eq_ignore_ascii_case(name.as_bytes()));
        let (_, value) = found.next()?;
        found.next().is_none().then_some(value)
    }

    /// The name of an event, unless the message is a response or was torn by a stranger's text.
    #[must_use]
    pub fn event(&self) -> Option<&[u8]> {
        let (key, name) = self.fields().next()?;
        (key == b"Event" && !self.torn).then_some(name)
    }

    /// Whether an action was successful; `None` for an event.
    #[must_use]
    pub fn succeeded(&self) -> Option<bool> {
        let (key, value) = self.fields().next()?;
        (key == b"Response").then(|| value == b"Success")
    }

    pub(super) fn part(&self) -> Part {
        if self.beginning().is_some() {
            return Part::SecurityEvent;
        }
        let starts = self
            .fields()
            .next()
            .is_some_and(|(key, _)| key == b"Event" || key == b"Response");
        let ends = self.fields().any(|(key, _)| key == b"RemoteAddress");
        if starts && !ends {
            Part::Other
        } else {
            Part::RestOfEvent
        }
    }

    /// The fields of a security event, behind those with which each begins.
    fn beginning(&self) -> Option<impl Iterator<Item = (&[u8], &[u8])>> {
        let mut fields = self.fields();
        let (key, _) = fields.next()?;
        let (privilege, class) = fields.next()?;
        if key != b"Event" || privilege != b"Privilege" || class != b"security,all" {
            return None;
        }
        // Asterisk may number the events and say when they were.
        let (_, time) = fields.find(|(key, _)| *key == b"EventTV")?;
        let (severity, _) = fields.next()?;
        let (service, _) = fields.next()?;
        let (version, _) = fields.next()?;
        let whole = time.len() >= 17
            && severity == b"Severity"
            && service == b"Service"
            && version == b"EventVersion";
        whole.then_some(fields)
    }

    pub(super) fn security_event(&self) -> Option<SecurityEvent<'_>> {
        let (_, name) = self.fields().next()?;
        let mut fields = self.beginning()?;
        let service = service_named(self.get("Service")?);
        let unread = SecurityEvent::unread(service);
        if self.torn {
            return Some(unread);
        }
        // RequestBadFormat has its account, if any, at the end.
        let mut next = fields.next();
        let account = next.filter(|(key, _)| *key == b"AccountID");
        if account.is_some() {
            next = fields.next();
        }
        let in_order = [&b"SessionID"[..], b"LocalAddress", b"RemoteAddress"]
            .iter()
            .all(|name| {
                let fits = next.is_some_and(|(key, _)| key == *name);
                if *name != b"RemoteAddress" {
                    next = fields.next();
                }
                fits
            });
        let Some(remote) = self.get("RemoteAddress").filter(|_| in_order) else {
            return Some(unread);
        };
        Some(SecurityEvent::of_fields(
            event_named(name, self.get("ACLName")),
            service,
            account.map(|(_, name)| name),
            self.get("SessionID"),
            transport_address(remote),
        ))
    }
}

/// Lines that end with CR LF; a lone line feed is a stranger's.
struct Lines<'a>(Option<&'a [u8]>);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<Self::Item> {
        let text = self.0?;
        let Some(end) = memchr::memmem::find(text, b"\r\n") else {
            self.0 = None;
            return Some(text);
        };
        self.0 = text.get(end + 2..);
        text.get(..end)
    }
}
