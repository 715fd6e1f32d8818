//! A SIP server that answers as Asterisk 16 was seen to answer, with either of its SIP drivers, or
//! as FreeSWITCH's documentation and source say of REGISTER and INVITE.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use sipward_wire::sip::{Digest, Message, Method};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    ChanSip,
    PjSip,
    /// 403 to any wrong credentials; a nonce that it does not know is stale, whatever password came
    /// with it, so it is no oracle.
    FreeSwitch,
}

/// An answer, and after which times it is sent (again, until it is acknowledged).
pub struct Answer {
    pub text: String,
    pub times: Vec<Duration>,
}

pub struct Pbx {
    pub driver: Driver,
    /// Whether unknown users are challenged like known ones.
    pub always_auth_reject: bool,
    pub subscriptions: bool,
    pub users: BTreeMap<String, String>,
    pub numbers: BTreeSet<String>,
    /// Addresses that may call without a login.
    pub trunks: BTreeSet<IpAddr>,
    /// Chan_sip keeps one nonce for each Call-ID; PJSIP knows its own again.
    calls: BTreeMap<String, String>,
    issued: BTreeSet<String>,
    count: u64,
}

pub fn digest(username: &str, password: &str, method: &str, uri: &str, nonce: &str) -> String {
    let hash = |text: String| format!("{:x}", md5::compute(text));
    let ha1 = hash(format!("{username}:asterisk:{password}"));
    let ha2 = hash(format!("{method}:{uri}"));
    hash(format!("{ha1}:{nonce}:{ha2}"))
}

impl Pbx {
    pub fn new(driver: Driver) -> Self {
        Self {
            driver,
            always_auth_reject: true,
            subscriptions: true,
            users: BTreeMap::new(),
            numbers: BTreeSet::new(),
            trunks: BTreeSet::new(),
            calls: BTreeMap::new(),
            issued: BTreeSet::new(),
            count: 0,
        }
    }

    /// The nonce that the dialog was challenged with last.
    pub fn nonce(&self, call: &str) -> &str {
        &self.calls[call]
    }

    pub fn answer(&mut self, client: SocketAddr, request: &Message<'_>) -> Vec<Answer> {
        let method = request.method().expect("a request");
        let statuses = match method {
            Method::Ack => return Vec::new(),
            Method::Bye | Method::Cancel | Method::Info | Method::Update | Method::Prack => {
                vec![(
                    "481 Call/Transaction Does Not Exist".to_owned(),
                    String::new(),
                )]
            }
            Method::Refer if self.driver == Driver::ChanSip => plain("603 Declined"),
            Method::Publish if self.driver == Driver::ChanSip => plain("489 Bad Event"),
            Method::Options if self.driver == Driver::ChanSip => {
                let user = text(request.request().unwrap().uri.user.unwrap_or_default());
                match user.is_empty() || self.users.contains_key(&user) {
                    true => plain("200 OK"),
                    false => plain("404 Not Found"),
                }
            }
            Method::Notify if self.driver == Driver::ChanSip => plain("200 OK"),
            Method::Other if self.driver == Driver::ChanSip => plain("501 Method Not Implemented"),
            Method::Invite if self.trunks.contains(&client.ip()) => self.granted(request),
            Method::Invite
            | Method::Options
            | Method::Register
            | Method::Subscribe
            | Method::Notify
            | Method::Publish
            | Method::Refer
            | Method::Message
            | Method::Other => self.authenticated(request),
        };
        self.count += 1;
        let answers = statuses.into_iter().map(|(status, headers)| Answer {
            times: self.times(method, &status),
            text: response(request, &status, &headers, self.count),
        });
        answers.collect()
    }

    fn times(&self, method: Method, status: &str) -> Vec<Duration> {
        let repeats = method == Method::Invite && !status.starts_with('1');
        let times: &[u64] = match (repeats, self.driver) {
            (true, Driver::ChanSip | Driver::FreeSwitch) => {
                &[0, 500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500]
            }
            (true, Driver::PjSip) | (false, _) => &[0],
        };
        times.iter().copied().map(Duration::from_millis).collect()
    }

    fn authenticated(&mut self, request: &Message<'_>) -> Vec<(String, String)> {
        let method = request.method().expect("a request");
        let claimed = if method == Method::Register {
            request.to()
        } else {
            request.from()
        };
        let claimed = text(
            claimed
                .and_then(|address| address.uri.user)
                .unwrap_or_default(),
        );
        let call = text(request.call_id().unwrap());
        let is_known = self.users.contains_key(&claimed);
        if !is_known && !self.always_auth_reject {
            let is_register = method == Method::Register;
            return plain(if is_register {
                "404 Not Found"
            } else {
                "403 Forbidden"
            });
        }
        let Some(credentials) = request.credentials().next() else {
            return vec![self.challenge(method, call, false)];
        };
        let nonce = text(credentials.nonce().unwrap_or_default());
        let is_right = self.is_right(&credentials, method);
        let current = match self.driver {
            Driver::ChanSip => self.calls.get(&call) == Some(&nonce),
            Driver::PjSip | Driver::FreeSwitch => self.issued.contains(&nonce),
        };
        if !current {
            let stale = match self.driver {
                Driver::ChanSip => is_right && self.calls.contains_key(&call),
                Driver::PjSip => is_right,
                Driver::FreeSwitch => true,
            };
            return vec![self.challenge(method, call, stale)];
        }
        if is_right {
            return self.granted(request);
        }
        match self.driver {
            Driver::ChanSip | Driver::FreeSwitch => plain("403 Forbidden"),
            Driver::PjSip => vec![self.challenge(method, call, false)],
        }
    }

    fn granted(&mut self, request: &Message<'_>) -> Vec<(String, String)> {
        let line = request.request().unwrap();
        let target = text(line.uri.user.unwrap_or_default());
        match line.method {
            Method::Invite if self.numbers.contains(&target) => {
                [plain("180 Ringing"), plain("200 OK")].concat()
            }
            Method::Invite => plain("404 Not Found"),
            Method::Subscribe if !self.subscriptions => match self.driver {
                Driver::ChanSip => plain("403 Forbidden (policy)"),
                Driver::PjSip | Driver::FreeSwitch => plain("489 Bad Event"),
            },
            Method::Register => vec![(
                "200 OK".to_owned(),
                "Contact: <sip:x@192.0.2.1>;expires=3600\r\n".to_owned(),
            )],
            Method::Ack
            | Method::Bye
            | Method::Cancel
            | Method::Options
            | Method::Prack
            | Method::Subscribe
            | Method::Notify
            | Method::Publish
            | Method::Info
            | Method::Refer
            | Method::Message
            | Method::Update
            | Method::Other => plain("200 OK"),
        }
    }

    fn is_right(&self, credentials: &Digest<'_>, method: Method) -> bool {
        let value = |value: Option<&[u8]>| text(value.unwrap_or_default());
        let username = value(credentials.username());
        let Some(password) = self.users.get(&username) else {
            return false;
        };
        let name = method.name().expect("a known method");
        let (uri, nonce) = (value(credentials.uri()), value(credentials.nonce()));
        digest(&username, password, name, &uri, &nonce) == value(credentials.response())
    }

    fn challenge(&mut self, method: Method, call: String, stale: bool) -> (String, String) {
        self.count += 1;
        let nonce = format!("{:08x}", 0x1000_0000 + self.count);
        self.calls.insert(call, nonce.clone());
        self.issued.insert(nonce.clone());
        let stale = if stale { ", stale=true" } else { "" };
        let as_proxy = self.driver == Driver::FreeSwitch && method != Method::Register;
        let (status, name) = match as_proxy {
            true => ("407 Proxy Authentication Required", "Proxy-Authenticate"),
            false => ("401 Unauthorized", "WWW-Authenticate"),
        };
        let header = format!(
            "{name}: Digest algorithm=MD5, realm=\"asterisk\", nonce=\"{nonce}\"{stale}\r\n"
        );
        (status.to_owned(), header)
    }
}

fn plain(status: &str) -> Vec<(String, String)> {
    vec![(status.to_owned(), String::new())]
}

fn response(request: &Message<'_>, status: &str, headers: &str, count: u64) -> String {
    let raw = |name| text(request.header(name).unwrap_or_default().raw);
    use sipward_wire::sip::HeaderName::{CSeq, CallId, From, To, Via};
    let mut to = raw(To);
    if !to.contains("tag=") && !status.starts_with("100") {
        to = format!("{to};tag=as{count:08x}");
    }
    format!(
        "SIP/2.0 {status}\r\nVia: {}\r\nFrom: {}\r\nTo: {to}\r\nCall-ID: {}\r\nCSeq: {}\r\n\
         Server: Asterisk PBX\r\n{headers}Content-Length: 0\r\n\r\n",
        raw(Via),
        raw(From),
        raw(CallId),
        raw(CSeq),
    )
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
