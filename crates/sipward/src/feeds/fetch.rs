//! Fetching a list: from a file, or over HTTP and HTTPS, within hard bounds of size and time.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::{
    Request, Response, StatusCode, Uri,
    body::{Bytes, Incoming},
    client::conn::http1,
    header,
};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use sipward_engine::escape_at_most;
use sipward_feed::LARGEST;
use sipward_wire::sip::percent_decode;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::{Instant, timeout_at},
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};

use super::is_loopback;

/// The authorities that the system believes, where Debian and most others have them.
const SYSTEM_CA: &str = "/etc/ssl/certs/ca-certificates.crt";
/// What the name of a detached signature ends in, as minisign has it.
const SIGNATURE: &str = ".minisig";
/// Redirections that are followed at most.
const MOST_REDIRECTS: usize = 5;

/// Where a list comes from.
pub struct Source {
    place: Place,
    longest: Duration,
    /// When nobody waits for it any longer.
    until: Instant,
}

/// What is fetched of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// The list, or its first page.
    Whole,
    /// Of a list in pages, the one of this name.
    Page(&'a str),
    /// Its detached signature: the same address or path with `.minisig`.
    Signature,
}

enum Place {
    File(PathBuf),
    Web { uri: Uri, tls: Arc<ClientConfig> },
}

/// What a server said of a list's version, which it is asked for the next time (RFC 9110
/// section 13.1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validators {
    etag: Option<String>,
    last_modified: Option<String>,
}

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub enum Fetched {
    /// Nothing has changed.
    NotModified,
    /// The list.
    Body {
        /// As it was sent.
        bytes: Vec<u8>,
        /// Of which version it is.
        validators: Validators,
    },
}

impl Source {
    /// All that is fetched of it takes at most `longest`, from now on. `from` is an address that begins with `http://` or `https://`, else a file.
    ///
    /// # Errors
    /// No address of a web server; certificates that cannot be read.
    pub fn new(from: &str, ca_file: Option<&Path>, longest: Duration) -> Result<Self, String> {
        let web = ["http://", "https://"]
            .iter()
            .any(|scheme| from.starts_with(scheme));
        let place = if web {
            let uri = from
                .parse()
                .map_err(|error| format!("this is no web address: {error}"))?;
            let tls = Arc::new(tls(ca_file)?);
            Place::Web { uri, tls }
        } else {
            Place::File(from.into())
        };
        Ok(Self {
            place,
            longest,
            until: Instant::now() + longest,
        })
    }

    /// Whether somebody else's server has it.
    #[must_use]
    pub const fn is_web(&self) -> bool {
        matches!(self.place, Place::Web { .. })
    }

    /// How the file is called that a server has; none where the address ends in `/`.
    #[must_use]
    pub fn served_file(&self) -> Option<String> {
        let Place::Web { uri, .. } = &self.place else {
            return None;
        };
        let name = uri.path().rsplit('/').next()?;
        let name = percent_decode(name.as_bytes());
        (!name.is_empty()).then(|| String::from_utf8_lossy(&name).into_owned())
    }
}

impl Part<'_> {
    fn of(self, uri: &Uri) -> Result<Uri, String> {
        let whole = match self {
            Self::Whole => return Ok(uri.clone()),
            Self::Page(name) => {
                // The server chose it, and nothing else of the address.
                let name: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
                format!("{}/{name}", uri.to_string().trim_end_matches('/'))
            }
            Self::Signature => {
                let whole = uri.to_string();
                match whole.split_once('?') {
                    Some((path, query)) => format!("{path}{SIGNATURE}?{query}"),
                    None => format!("{whole}{SIGNATURE}"),
                }
            }
        };
        whole.parse().map_err(|error| format!("{whole}: {error}"))
    }
}

/// Fetches the list, or a part of it.
///
/// # Errors
/// One line: what went wrong.
pub fn fetch(source: &Source, part: Part<'_>, known: &Validators) -> Result<Fetched, String> {
    let (uri, tls) = match &source.place {
        Place::File(path) => {
            return match part {
                Part::Whole | Part::Page(_) => read(path),
                Part::Signature => {
                    let mut beside = path.as_os_str().to_owned();
                    beside.push(SIGNATURE);
                    read(Path::new(&beside))
                }
            };
        }
        Place::Web { uri, tls } => (part.of(uri)?, tls),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let fetched = runtime.block_on(async {
        let redirected = follow(uri, tls, known);
        timeout_at(source.until, redirected)
            .await
            .unwrap_or_else(|_| {
                Err(format!(
                    "not there after {} s: the server is slow, or --timeout too short",
                    source.longest.as_secs()
                ))
            })
    });
    // A name that is being looked up is not waited for.
    runtime.shutdown_background();
    fetched
}

fn read(path: &Path) -> Result<Fetched, String> {
    let mut bytes = Vec::new();
    let most = LARGEST as u64 + 1;
    let file = File::open(path).map_err(|error| format!("cannot read it: {error}"))?;
    file.take(most)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("cannot read it: {error}"))?;
    Ok(Fetched::Body {
        bytes,
        validators: Validators::default(),
    })
}

async fn follow(
    mut uri: Uri,
    tls: &Arc<ClientConfig>,
    known: &Validators,
) -> Result<Fetched, String> {
    for _ in 0..=MOST_REDIRECTS {
        let answer = ask(&uri, tls, known).await?;
        let status = answer.status();
        // Whoever was asked without a version answers with the list, or with nothing of use.
        if status == StatusCode::NOT_MODIFIED && *known != Validators::default() {
            return Ok(Fetched::NotModified);
        }
        if status.is_redirection() {
            uri = redirected(&uri, &answer)?;
            continue;
        }
        if !status.is_success() {
            return Err(format!("the server answers {status}"));
        }
        return body(answer).await;
    }
    Err(format!("more than {MOST_REDIRECTS} redirections"))
}

async fn body(answer: Response<Incoming>) -> Result<Fetched, String> {
    let text = |name| {
        let value = answer.headers().get(name)?;
        value.to_str().ok().map(str::to_owned)
    };
    let validators = Validators {
        etag: text(header::ETAG),
        last_modified: text(header::LAST_MODIFIED),
    };
    let body = Limited::new(answer.into_body(), LARGEST).collect().await;
    let bytes = body.map_err(|error| {
        if error.is::<LengthLimitError>() {
            sipward_feed::Error::TooLarge.to_string()
        } else {
            format!("it breaks off: {error}")
        }
    })?;
    Ok(Fetched::Body {
        bytes: bytes.to_bytes().into(),
        validators,
    })
}

/// Where a redirection leads. What was asked for under TLS, or of this machine, is not taken from
/// where anybody on the way could write it.
fn redirected(from: &Uri, answer: &Response<Incoming>) -> Result<Uri, String> {
    let location = answer
        .headers()
        .get(header::LOCATION)
        .and_then(|location| location.to_str().ok())
        .ok_or("the server redirects to nowhere")?;
    let bad = |error: &dyn std::fmt::Display| {
        let location = escape_at_most(location.as_bytes(), 80);
        format!("the server redirects to \"{location}\": {error}")
    };
    let to: Uri = location.parse().map_err(|error| bad(&error))?;
    let to = if to.host().is_some() {
        to
    } else {
        let path = to.path_and_query().cloned();
        let mut parts = from.clone().into_parts();
        parts.path_and_query = path;
        Uri::from_parts(parts).map_err(|error| bad(&error))?
    };
    if is_tls(from) && !is_tls(&to) {
        return Err(bad(&"from HTTPS to HTTP"));
    }
    let is_here = |uri: &Uri| uri.host().is_some_and(is_loopback);
    if is_here(from) && !is_here(&to) && !is_tls(&to) {
        return Err(bad(&"from this machine to HTTP elsewhere"));
    }
    Ok(to)
}

fn is_tls(uri: &Uri) -> bool {
    uri.scheme_str() == Some("https")
}

async fn ask(
    uri: &Uri,
    tls: &Arc<ClientConfig>,
    known: &Validators,
) -> Result<Response<Incoming>, String> {
    let host = uri.host().ok_or("the address names no server")?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let port = uri.port_u16().unwrap_or(if is_tls(uri) { 443 } else { 80 });
    let stream = TcpStream::connect((bare, port))
        .await
        .map_err(|error| format!("cannot reach {host} port {port}: {error}"))?;
    if !is_tls(uri) {
        return send(uri, host, stream, known).await;
    }
    let name = ServerName::try_from(bare.to_owned()).map_err(|error| error.to_string())?;
    let stream = TlsConnector::from(Arc::clone(tls))
        .connect(name, stream)
        .await
        .map_err(|error| format!("{host} is not believed: {error}"))?;
    send(uri, host, stream, known).await
}

async fn send<S>(
    uri: &Uri,
    host: &str,
    stream: S,
    known: &Validators,
) -> Result<Response<Incoming>, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let authority = uri
        .port_u16()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let mut request = Request::get(path)
        .header(header::HOST, authority)
        .header(
            header::USER_AGENT,
            concat!("sipward/", env!("CARGO_PKG_VERSION")),
        )
        .header(header::ACCEPT, "*/*");
    if let Some(etag) = &known.etag {
        request = request.header(header::IF_NONE_MATCH, etag);
    }
    if let Some(date) = &known.last_modified {
        request = request.header(header::IF_MODIFIED_SINCE, date);
    }
    let request = request
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    sender
        .send_request(request)
        .await
        .map_err(|error| format!("{host} does not answer: {error}"))
}

fn tls(ca_file: Option<&Path>) -> Result<ClientConfig, String> {
    let path = ca_file.unwrap_or(Path::new(SYSTEM_CA));
    let mut roots = RootCertStore::empty();
    match CertificateDer::pem_file_iter(path) {
        // Without the system's authorities nobody is believed, which the connection then says.
        Err(_) if ca_file.is_none() => {}
        Err(error) => return Err(format!("{}: {error}", path.display())),
        Ok(certificates) => {
            let (added, _) = roots.add_parsable_certificates(certificates.flatten());
            if added == 0 && ca_file.is_some() {
                return Err(format!("{}: no certificate in it", path.display()));
            }
        }
    }
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map(|config| config.with_root_certificates(roots).with_no_client_auth())
        .map_err(|error| error.to_string())
}
