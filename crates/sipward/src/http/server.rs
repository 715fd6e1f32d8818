//! Where is listened, what is there, and by which name it has to be called.
//!
//! At a loopback address only those are answered who call it so: a page in a browser of this machine,
//! whose name somebody lets stand for 127.0.0.1, reads nothing.

use std::{convert::Infallible, future::pending, io, net::SocketAddr, thread, time::Duration};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, uri::Authority},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HOST, X_CONTENT_TYPE_OPTIONS};
use sipward_shield::give_up_capabilities;
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
    sync::{mpsc, watch},
    time::sleep,
};

use super::{connections, exposition::Format, snapshots::Snapshots};
use crate::{config::Listen, control::server::Task, feeds::is_loopback, panics};

/// How often an address is tried that cannot be had.
const AGAIN: Duration = Duration::from_secs(10);

/// The thread that serves; it ends when this is dropped.
#[derive(Debug)]
pub struct Http {
    listen: watch::Sender<Listen>,
}

impl Http {
    /// Serves from now on. Whatever goes wrong is told to the log: protection does not depend on it.
    #[must_use]
    pub fn start(listen: Listen, tasks: mpsc::Sender<Task>) -> Self {
        let (listen, settings) = watch::channel(listen);
        let serving = Builder::new_current_thread().enable_all().build();
        let serving = serving.and_then(|runtime| {
            let serve = move || serve_alone(&runtime, settings, Snapshots::new(tasks));
            thread::Builder::new().name("http".to_owned()).spawn(serve)
        });
        if let Err(error) = serving {
            tracing::error!("no metrics: {error}");
        }
        Self { listen }
    }

    /// Listens elsewhere, if that is elsewhere.
    pub fn follow(&self, listen: Listen) {
        self.listen.send_if_modified(|before| {
            let other = *before != listen;
            *before = listen;
            other
        });
    }
}

/// Strangers are heard by a thread without any capability, in which a panic ends their connection only.
fn serve_alone(runtime: &Runtime, settings: watch::Receiver<Listen>, snapshots: Snapshots) {
    panics::end_the_task_here();
    match give_up_capabilities() {
        Ok(()) => runtime.block_on(serve(settings, snapshots)),
        Err(error) => tracing::error!("no metrics: cannot give up capabilities: {error}"),
    }
}

async fn serve(mut settings: watch::Receiver<Listen>, snapshots: Snapshots) {
    loop {
        let listen = *settings.borrow_and_update();
        tokio::select! {
            changed = settings.changed() => if changed.is_err() {
                return;
            },
            never = serve_at(listen, &snapshots) => match never {},
        }
    }
}

async fn serve_at(listen: Listen, snapshots: &Snapshots) -> Infallible {
    let Listen::At(address) = listen else {
        return pending().await;
    };
    let listener = bind(address, listen == Listen::default()).await;
    let address = listener.local_addr().unwrap_or(address);
    tell(address);
    connections::serve(listener, router(address, snapshots.clone())).await
}

/// The address may be another program's at present, or one that this machine has yet to get. The
/// default, which nobody asked for, is left to whoever has it: taken while they restart, it would
/// be theirs no more.
async fn bind(address: SocketAddr, is_default: bool) -> TcpListener {
    let mut told = None;
    loop {
        let error = match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(error) => error,
        };
        let is_left = is_default && error.kind() == io::ErrorKind::AddrInUse;
        if told.replace(error.kind()) != Some(error.kind()) {
            tracing::warn!("{}", complaint(address, &error, is_left));
        }
        if is_left {
            return pending().await;
        }
        sleep(AGAIN).await;
    }
}

fn complaint(address: SocketAddr, error: &io::Error, is_left: bool) -> String {
    let known = [
        (
            io::ErrorKind::AddrInUse,
            "; `ss -ltnp` says which program does",
        ),
        (
            io::ErrorKind::AddrNotAvailable,
            "; no interface has this address",
        ),
        (
            io::ErrorKind::PermissionDenied,
            "; ports below 1024 need a capability, and what answers here has none",
        ),
    ];
    let hint = known.iter().find(|(kind, _)| *kind == error.kind());
    let hint = hint.map_or("", |(_, hint)| hint);
    let next = if is_left {
        "not tried again before the next start"
    } else {
        "tried again every 10 s"
    };
    format!(
        "no metrics: cannot listen at {address}: {error}{hint}; {next}, and everything else goes on; \
         [http] listen, or --http, may name another address, or \"off\""
    )
}

fn tell(address: SocketAddr) {
    tracing::info!("metrics: http://{address}/metrics");
    if !is_loopback_address(address) {
        tracing::warn!(
            "whoever reaches {address} can read the metrics, unencrypted: counts, and the names of \
             interfaces, signatures and lists, but no address of a source and no account"
        );
    }
}

fn is_loopback_address(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

fn router(address: SocketAddr, snapshots: Snapshots) -> Router {
    let router = Router::new()
        .route("/", get(index))
        .route("/metrics", get(show))
        .fallback(async || (StatusCode::NOT_FOUND, "there is /metrics only\n"))
        .with_state(snapshots);
    if is_loopback_address(address) {
        router.layer(middleware::from_fn(only_for_loopback))
    } else {
        router
    }
}

async fn index() -> &'static str {
    concat!(
        "sipward ",
        env!("CARGO_PKG_VERSION"),
        "\n/metrics   for Prometheus, and whatever reads its format\n"
    )
}

async fn show(State(snapshots): State<Snapshots>, headers: HeaderMap) -> Response {
    let accepted = headers.get_all(ACCEPT).iter();
    let format = Format::accepted(accepted.filter_map(|accept| accept.to_str().ok()));
    match snapshots.take().await {
        Ok(page) => (
            [
                (CONTENT_TYPE, format.content_type()),
                (CACHE_CONTROL, "no-store"),
                (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            ],
            page.text(format),
        )
            .into_response(),
        Err(failure) => (StatusCode::SERVICE_UNAVAILABLE, failure.text + "\n").into_response(),
    }
}

async fn only_for_loopback(request: Request, next: Next) -> Response {
    if is_for_loopback(&request) {
        return next.run(request).await;
    }
    let why = "this is for http://127.0.0.1 and http://localhost, by these names only\n";
    (StatusCode::MISDIRECTED_REQUEST, why).into_response()
}

/// Whether the client calls this machine by a name that nobody else can take (RFC 9112 section 3.2).
fn is_for_loopback<T>(request: &hyper::Request<T>) -> bool {
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = match (request.uri().authority(), hosts.next(), hosts.next()) {
        (Some(authority), _, None) => Some(authority.clone()),
        (None, Some(host), None) => Authority::try_from(host.as_bytes()).ok(),
        (None, None, None) | (_, _, Some(_)) => None,
    };
    host.is_some_and(|host| is_loopback(host.host()))
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use test_case::test_case;
    use tokio::time::timeout;

    use super::*;

    #[test_case(true => false; "not the default, which nobody asked for")]
    #[test_case(false => true; "one that somebody named")]
    #[tokio::test(start_paused = true)]
    async fn an_address_is_taken_that_was_in_use(is_default: bool) -> bool {
        let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut bound = pin!(bind(other.local_addr().unwrap(), is_default));
        let while_in_use = timeout(AGAIN * 3, &mut bound).await;
        assert!(while_in_use.is_err());
        drop(other);
        timeout(AGAIN * 3, bound).await.is_ok()
    }

    #[test_case("192.0.2.1:80", io::ErrorKind::AddrInUse, "`ss -ltnp` says which"; "in use")]
    #[test_case("192.0.2.1:80", io::ErrorKind::AddrNotAvailable, "no interface has"; "not ours")]
    #[test_case("192.0.2.1:80", io::ErrorKind::PermissionDenied, "a capability"; "not allowed")]
    fn why_there_are_no_metrics(address: &str, kind: io::ErrorKind, hint: &str) {
        let hints = ["`ss -ltnp` says which", "no interface has", "a capability"];
        let said = complaint(address.parse().unwrap(), &kind.into(), false);
        for other in hints {
            assert_eq!(said.contains(other), other == hint, "{said}");
        }
        assert!(said.contains("at 192.0.2.1:80: "), "{said}");
    }

    #[test_case("/metrics", &["127.0.0.1:8060"] => true; "the address")]
    #[test_case("/metrics", &["localhost"] => true; "the name")]
    #[test_case("/metrics", &["LOCALHOST:8060"] => true; "the name in another case")]
    #[test_case("/metrics", &["[::1]:8060"] => true; "the address of IPv6")]
    #[test_case("http://localhost:8060/metrics", &["localhost:8060"] => true; "a whole URI")]
    #[test_case("/metrics", &["evil.example:8060"] => false; "another name")]
    #[test_case("/metrics", &["127.0.0.1.evil.example"] => false; "a name that begins so")]
    #[test_case("/metrics", &["192.0.2.1"] => false; "another address")]
    #[test_case("http://evil.example/metrics", &["127.0.0.1"] => false; "a whole URI of another")]
    #[test_case("/metrics", &["127.0.0.1", "evil.example"] => false; "two")]
    #[test_case("/metrics", &["a b"] => false; "what is no name")]
    #[test_case("/metrics", &[] => false; "none")]
    fn who_means_this_machine(uri: &str, hosts: &[&str]) -> bool {
        let request = hosts
            .iter()
            .fold(hyper::Request::get(uri), |request, host| {
                request.header(HOST, *host)
            });
        is_for_loopback(&request.body(()).unwrap())
    }
}
