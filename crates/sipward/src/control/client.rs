//! The commands' end of the control socket.

use std::{
    fmt::{self, Write},
    io::{self, BufReader, Read},
    marker::PhantomData,
    ops::ControlFlow,
    path::{Path, PathBuf},
    time::Duration,
};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, Response,
    body::{Bytes, Incoming},
    client::conn::http1,
    header::CONTENT_TYPE,
};
use hyper_util::rt::TokioIo;
use serde::{
    Serialize,
    de::{DeserializeOwned, Deserializer as _, Error as _, SeqAccess, Visitor},
};
use tokio::{net::UnixStream, runtime::Runtime, time::timeout};

use super::api::{LARGEST_REQUEST, Refusal};
use crate::exit::{Exit, Failure};

/// Longer than the daemon allows itself, so that its own answer comes first.
const LONGEST: Duration = Duration::from_secs(15);
/// How long a list may take to begin: the daemon waits for the kernel, and nftables takes its time to tell
/// a million bans.
const LONGEST_BEGIN: Duration = Duration::from_secs(60);
/// Bytes of an answer at most that is read as a whole: the prefixes of some million bans.
const LARGEST: usize = 128 << 20;
/// Bytes of an answer that are taken apart at a time.
const READ_AT_ONCE: usize = 64 << 10;

/// A daemon, by its socket.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// The daemon behind this socket; it is not called before something is asked.
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
        }
    }

    /// Asks; `path` has the query in it.
    ///
    /// # Errors
    /// Exit code 3 where nobody answers, 4 without permission, else what the daemon says.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.call(Method::GET, path, Bytes::new())
    }

    /// As [`Self::get`], of what may be a million.
    ///
    /// # Errors
    /// As [`Self::each`].
    pub fn list<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, Failure> {
        let mut all = Vec::new();
        self.each(path, |one| {
            all.push(one);
            ControlFlow::Continue(())
        })?;
        Ok(all)
    }

    /// Asks for an array, and gives each element to `take` as it comes, until that has enough.
    ///
    /// # Errors
    /// As [`Self::get`], where it does not begin within 60 s; and exit code 3 where the daemon breaks off,
    /// or has nothing more to say for 15 s.
    pub fn each<T: DeserializeOwned>(
        &self,
        path: &str,
        mut take: impl FnMut(T) -> ControlFlow<()>,
    ) -> Result<(), Failure> {
        let runtime = self.runtime()?;
        let asked = self.within(LONGEST_BEGIN, self.open(Method::GET, path, Bytes::new()));
        let body = AnswerBody {
            body: runtime.block_on(asked)?.into_body(),
            runtime: &runtime,
            part: Bytes::new(),
        };
        let mut has_enough = false;
        let elements = Elements {
            take: |one| {
                let flow = take(one);
                has_enough = flow.is_break();
                flow
            },
            of: PhantomData,
        };
        let body = BufReader::with_capacity(READ_AT_ONCE, body);
        let mut json = serde_json::Deserializer::from_reader(body);
        match json.deserialize_seq(elements) {
            Err(error) if !has_enough => Err(self.garbled(&error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Orders.
    ///
    /// # Errors
    /// As [`Self::get`]; exit code 2 where the request is larger than the daemon reads.
    pub fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        let body = serde_json::to_vec(body).map_err(|error| self.garbled(&error))?;
        if body.len() > LARGEST_REQUEST {
            return Err(Failure::input(format!(
                "the request has {} bytes and the daemon reads {LARGEST_REQUEST} at most: send it \
                 in parts, some thousands of addresses each",
                body.len()
            )));
        }
        self.call(Method::POST, path, body.into())
    }

    /// Asks for lines, and gives each to `read` as it comes; `begun` is called before the first. It
    /// ends with `Break` when `read` says so, with `Continue` when the daemon has no more to say.
    ///
    /// # Errors
    /// As [`Self::post`], until it has begun.
    pub fn stream(
        &self,
        path: &str,
        body: &impl Serialize,
        begun: impl FnOnce(),
        mut read: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Failure> {
        let body = serde_json::to_vec(body).map_err(|error| self.garbled(&error))?;
        self.runtime()?.block_on(async {
            let answer = self
                .within(LONGEST, self.open(Method::POST, path, body.into()))
                .await?;
            begun();
            let mut body = answer.into_body();
            let mut rest = Vec::new();
            // However the daemon ends, it has no more to say.
            while let Some(Ok(frame)) = body.frame().await {
                let Ok(data) = frame.into_data() else {
                    continue;
                };
                rest.extend_from_slice(&data);
                while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = rest.drain(..=end).collect();
                    if read(line.trim_ascii_end()).is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
            }
            Ok(ControlFlow::Continue(()))
        })
    }

    fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, Failure> {
        let asked = async {
            let answer = self.open(method, path, body).await?;
            self.read(answer).await
        };
        let answer = self.runtime()?.block_on(self.within(LONGEST, asked))?;
        serde_json::from_slice(&answer).map_err(|error| self.garbled(&error))
    }

    fn runtime(&self) -> Result<Runtime, Failure> {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| self.unreachable(&error))
    }

    async fn within<T>(
        &self,
        longest: Duration,
        answer: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        timeout(longest, answer).await.unwrap_or_else(|_| {
            Err(Failure::unreachable(format!(
                "the daemon at {} does not answer",
                self.socket.display()
            )))
        })
    }

    /// Asks, and waits for the head of the answer.
    async fn open(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, Failure> {
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|error| self.unreachable(&error))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.garbled(&error))?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(hyper::header::HOST, "sipward")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| self.garbled(&error))?;
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| self.garbled(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = self.read(response).await?;
        let refusal: Refusal = serde_json::from_slice(&body).map_err(|_| {
            Failure::unreachable(format!(
                "the daemon at {} does not understand ({status}): it may be of another version",
                self.socket.display()
            ))
        })?;
        Err(refusal.failure())
    }

    async fn read(&self, answer: Response<Incoming>) -> Result<Bytes, Failure> {
        let body = Limited::new(answer.into_body(), LARGEST).collect().await;
        let body =
            body.map_err(|error| Failure::unreachable(format!("the daemon's answer: {error}")))?;
        Ok(body.to_bytes())
    }

    fn unreachable(&self, error: &io::Error) -> Failure {
        let socket = self.socket.display();
        if error.kind() == io::ErrorKind::PermissionDenied {
            return Failure {
                exit: Exit::Unsupported,
                text: format!("not permitted to use {socket}: run this as root"),
            };
        }
        Failure::unreachable(format!(
            "no sipward answers at {socket} ({error}): start it with `sipward run`, or name its \
             socket with --socket"
        ))
    }

    fn garbled(&self, error: &dyn std::error::Error) -> Failure {
        Failure::unreachable(format!("the daemon at {}: {error}", self.socket.display()))
    }
}

/// The body of an answer, as it comes.
struct AnswerBody<'a> {
    body: Incoming,
    runtime: &'a Runtime,
    part: Bytes,
}

impl Read for AnswerBody<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.part.is_empty() {
            let next = async { timeout(LONGEST, self.body.frame()).await };
            match self.runtime.block_on(next) {
                Ok(Some(frame)) => {
                    let frame = frame.map_err(io::Error::other)?;
                    // What is no data is not for us.
                    self.part = frame.into_data().unwrap_or_default();
                }
                Ok(None) => return Ok(0),
                Err(_) => return Err(io::Error::other("it does not go on")),
            }
        }
        (&*self.part.split_to(self.part.len().min(buffer.len()))).read(buffer)
    }
}

/// Gives each element of an array away.
struct Elements<T, F> {
    take: F,
    of: PhantomData<T>,
}

impl<'de, T, F> Visitor<'de> for Elements<T, F>
where
    T: DeserializeOwned,
    F: FnMut(T) -> ControlFlow<()>,
{
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut array: A) -> Result<(), A::Error> {
        while let Some(element) = array.next_element()? {
            if (self.take)(element).is_break() {
                return Err(A::Error::custom("enough"));
            }
        }
        Ok(())
    }
}

/// A value as part of a path's query: everything but letters, digits and `-._~` in percent form
/// (RFC 3986 §2.1).
#[must_use]
pub fn in_query(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => {
                // Writing to a string does not fail.
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Client, LARGEST_REQUEST, in_query};
    use crate::exit::Exit;

    #[test]
    fn a_name_in_a_query_is_that_name_and_nothing_else() {
        assert_eq!(in_query("Ana-1_a.b~"), "Ana-1_a.b~");
        assert_eq!(in_query("a&b=c d+é%"), "a%26b%3Dc%20d%2B%C3%A9%25");
    }

    #[test]
    fn a_request_that_is_too_large_is_not_sent() {
        let client = Client::new(Path::new("/nonexistent"));
        let post = |bytes| {
            client
                .post::<()>("/v1/ban", &"x".repeat(bytes))
                .unwrap_err()
        };
        // With its two quotes.
        let error = post(LARGEST_REQUEST - 1);
        assert_eq!(error.exit, Exit::Input);
        assert!(error.text.contains("in parts"), "{error}");
        assert_eq!(post(LARGEST_REQUEST - 2).exit, Exit::Unreachable);
    }
}
