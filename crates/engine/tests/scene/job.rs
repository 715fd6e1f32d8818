//! What a client is to do, and what it says.

use std::{net::SocketAddr, time::Duration};

use super::{digest, millis};

/// How a client logs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// Not at all.
    Never,
    /// With this password, when it is asked.
    Password(String),
    /// With a nonce of old at first, and with the new one when it is asked.
    Cached(String),
    /// With empty credentials at first (IMS), and with real ones when it is asked.
    Ims(String),
    /// Once asked, with a nonce that nobody issued: the nonce oracle.
    Oracle(String),
}

/// A request, and what the client does about its answers.
#[derive(Clone, Debug)]
pub struct Job {
    pub at: Duration,
    pub from: SocketAddr,
    pub tcp: bool,
    pub method: &'static str,
    pub user: String,
    pub target: String,
    /// The host of the request URI.
    pub host: &'static str,
    pub login: Login,
    pub username: Option<String>,
    pub acknowledges: bool,
    pub acknowledges_success: bool,
    pub call: Option<String>,
    pub cseq: u32,
    /// Sent with the first request instead of what `login` says.
    pub first_authorization: Option<String>,
    pub user_agent: Option<&'static str>,
    /// Time from the client to the server, and as long back.
    pub way: Duration,
}

impl Job {
    pub fn new(from: &str, method: &'static str, user: &str) -> Self {
        Self {
            at: Duration::ZERO,
            from: from.parse().unwrap(),
            tcp: false,
            method,
            user: user.to_owned(),
            target: String::new(),
            host: "198.51.100.1",
            login: Login::Never,
            username: None,
            acknowledges: true,
            acknowledges_success: true,
            call: None,
            cseq: 1,
            first_authorization: None,
            user_agent: Some("Phone 1.0"),
            way: millis(10),
        }
    }

    pub fn at(self, at: Duration) -> Self {
        Self { at, ..self }
    }

    pub fn to(self, target: &str) -> Self {
        let target = target.to_owned();
        Self { target, ..self }
    }

    pub fn password(self, password: &str) -> Self {
        let login = Login::Password(password.to_owned());
        Self { login, ..self }
    }

    pub fn login(self, login: Login) -> Self {
        Self { login, ..self }
    }

    pub fn silent(self) -> Self {
        Self {
            acknowledges: false,
            ..self
        }
    }

    pub fn far(self, way: Duration) -> Self {
        Self { way, ..self }
    }

    pub fn over_tcp(self) -> Self {
        Self { tcp: true, ..self }
    }
}

pub fn uri(job: &Job) -> String {
    match job.target.as_str() {
        "" => format!("sip:{}", job.host),
        target => format!("sip:{target}@{}", job.host),
    }
}

pub fn credentials(job: &Job, password: &str, nonce: &str) -> String {
    let uri = uri(job);
    let username = job.username.as_ref().unwrap_or(&job.user);
    let response = digest(username, password, job.method, &uri, nonce);
    format!(
        "Authorization: Digest username=\"{username}\", realm=\"asterisk\", nonce=\"{nonce}\", uri=\"{uri}\", response=\"{response}\", algorithm=MD5\r\n"
    )
}

pub fn request(job: &Job, call: &str, cseq: u32, authorization: &str) -> String {
    let Job {
        method, user, from, ..
    } = job;
    let to = match job.target.as_str() {
        "" => user,
        target => target,
    };
    let user_agent = match job.user_agent {
        Some(user_agent) => format!("User-Agent: {user_agent}\r\n"),
        None => String::new(),
    };
    format!(
        "{method} {} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bK{call}{cseq};rport\r\n\
         From: <sip:{user}@198.51.100.1>;tag=t{call}\r\nTo: <sip:{to}@198.51.100.1>\r\n\
         Call-ID: {call}\r\nCSeq: {cseq} {method}\r\nContact: <sip:{user}@{from}>\r\n\
         Max-Forwards: 70\r\n{user_agent}{authorization}Content-Length: 0\r\n\r\n",
        uri(job)
    )
}
