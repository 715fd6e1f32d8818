//! Who is answered: whoever asks in one request, of some kilobytes, within ten seconds.
//!
//! A connection more than there may be ends another one: the oldest of those on which nothing was asked
//! yet, else the oldest. So those who keep theirs open keep nobody out, and who has asked goes for others
//! who have, only.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::Router;
use hyper::{
    Request,
    body::Incoming,
    server::conn::http1,
    service::{Service as _, service_fn},
};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
    time::timeout,
};

/// Connections at once.
const MOST: usize = 64;
/// How long a connection may last.
const LONGEST: Duration = Duration::from_secs(10);
/// Bytes of a request's headers.
const LARGEST: usize = 8 << 10;
/// Headers of a request.
const HEADERS: usize = 64;

/// One that is open.
struct Connection {
    task: AbortHandle,
    /// Whether a whole request came.
    has_asked: Arc<AtomicBool>,
}

/// Serves whoever connects. The connections end with this; a panic ends one only.
pub async fn serve(mut listener: TcpListener, router: Router) -> Infallible {
    let service = TowerToHyperService::new(router);
    let mut tasks = JoinSet::new();
    let mut oldest_first: VecDeque<Connection> = VecDeque::new();
    loop {
        // Axum's own, which waits where no more files may be open.
        let (stream, _) = axum::serve::Listener::accept(&mut listener).await;
        while tasks.try_join_next().is_some() {}
        oldest_first.retain(|connection| !connection.task.is_finished());
        if oldest_first.len() >= MOST {
            end_one(&mut oldest_first);
        }
        let has_asked = Arc::<AtomicBool>::default();
        let task = tasks.spawn(answer(stream, service.clone(), has_asked.clone()));
        oldest_first.push_back(Connection { task, has_asked });
    }
}

fn end_one(oldest_first: &mut VecDeque<Connection>) {
    let says_nothing = |it: &Connection| !it.has_asked.load(Ordering::Relaxed);
    let silent = oldest_first.iter().position(says_nothing);
    if let Some(ended) = oldest_first.remove(silent.unwrap_or(0)) {
        ended.task.abort();
    }
}

async fn answer(
    stream: TcpStream,
    service: TowerToHyperService<Router>,
    has_asked: Arc<AtomicBool>,
) {
    let service = service_fn(|request: Request<Incoming>| {
        has_asked.store(true, Ordering::Relaxed);
        service.call(request)
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .max_header_size(LARGEST)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    // However it ends, that concerns the other end only.
    let _ = timeout(LONGEST, connection).await;
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::routing::get;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        sync::{Semaphore, mpsc},
    };

    use super::*;

    async fn served(router: Router) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, router));
        address
    }

    async fn ask(server: SocketAddr, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(server).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    /// What comes until the connection ends, in whatever way.
    async fn rest(mut stream: TcpStream) -> String {
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer).await;
        answer
    }

    #[tokio::test]
    async fn who_has_asked_is_answered_however_many_say_nothing() {
        let (entered, mut entries) = mpsc::channel(1);
        let answers = Arc::new(Semaphore::new(0));
        let wait = answers.clone();
        let router = Router::new().route(
            "/",
            get(async move || {
                entered.send(()).await.unwrap();
                let _answered = wait.acquire().await.unwrap();
                "figures"
            }),
        );
        let server = served(router).await;
        let asked = ask(server, "/").await;
        entries.recv().await.unwrap();
        let mut silent = VecDeque::new();
        for _ in 0..2 * MOST {
            silent.push_back(TcpStream::connect(server).await.unwrap());
        }
        // As many as had to go for the others.
        for stream in silent.drain(..MOST) {
            assert_eq!(rest(stream).await, "");
        }
        answers.add_permits(1);
        let answer = rest(asked).await;
        assert!(answer.ends_with("\r\n\r\nfigures"), "{answer}");
    }

    #[tokio::test]
    async fn a_panic_ends_the_connection_that_it_is_in() {
        async fn mistake() -> &'static str {
            panic!("a mistake that a stranger found");
        }
        let router = Router::new()
            .route("/", get(async || "figures"))
            .route("/mistake", get(mistake));
        let server = served(router).await;
        assert_eq!(rest(ask(server, "/mistake").await).await, "");
        let answer = rest(ask(server, "/").await).await;
        assert!(answer.ends_with("\r\n\r\nfigures"), "{answer}");
    }
}
